package table_test

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"hangar/services/meta/internal/table"
	"hangar/shared/kv/badgerkv"
	"hangar/shared/metaapi"
	"hangar/shared/register"
	"hangar/shared/segment"
)

// benchNode is a table as it runs in production, on dir.
func benchNode(b *testing.B) *table.Table {
	b.Helper()
	dir := b.TempDir()
	s, err := badgerkv.Open(filepath.Join(dir, "rows"), badgerkv.Options{NoSync: true})
	if err != nil {
		b.Fatal(err)
	}
	return startWith(b, disk{Base: s, bodies: filepath.Join(dir, "bodies")}, segment.Options{SegmentBytes: 256 << 20}).Table
}

// cpu is the processor time this process has used.
func cpu() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func BenchmarkApply(b *testing.B) {
	for _, bodyBytes := range []int{0, 4 << 10} {
		for _, writers := range []int{1, 16, 64} {
			b.Run(fmt.Sprintf("body=%d/writers=%d", bodyBytes, writers), func(b *testing.B) {
				t := benchNode(b)
				body := make([]byte, bodyBytes)
				head := make([]byte, 200)
				var next atomic.Int64
				b.ResetTimer()
				began := cpu()
				var wg sync.WaitGroup
				for range writers {
					wg.Go(func() {
						for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
							v := &register.Value{Head: head, Body: body, Count: 1, Bytes: int64(bodyBytes)}
							q := register.Request{Kind: register.Apply, Row: register.Row{Tag: tag(i), Op: tag(i), Value: v}}
							if _, err := t.Handle(context.Background(), objectKey(fmt.Sprintf("some/path/%09d", i*7919%1e9)), q); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				wg.Wait()
				b.ReportMetric(float64((cpu()-began).Microseconds())/float64(b.N), "cpu-µs/op")
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "op/s")
			})
		}
	}
}

// fillBench writes n rows of 200 bytes of head.
func fillBench(b *testing.B, t *table.Table, n int) {
	b.Helper()
	var wg sync.WaitGroup
	var next atomic.Int64
	for range 64 {
		wg.Go(func() {
			for i := next.Add(1); i <= int64(n); i = next.Add(1) {
				v := &register.Value{Head: make([]byte, 200), Count: 1}
				q := register.Request{Kind: register.Apply, Row: register.Row{Tag: tag(i), Op: tag(i), Value: v}}
				if _, err := t.Handle(context.Background(), objectKey(fmt.Sprintf("some/path/%09d", i)), q); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkScan1000(b *testing.B) {
	t := benchNode(b)
	fillBench(b, t, 20_000)
	b.ResetTimer()
	b.ReportAllocs()
	for i := range b.N {
		q := metaapi.ScanRequest{Table: metaapi.Objects, Bucket: bucket, FromKey: fmt.Sprintf("some/path/%09d", i*613%19_000), Limit: 1000, MaxBytes: metaapi.MaxScanBytes}
		if r, err := t.Scan(context.Background(), q); err != nil || len(r.Rows) != 1000 {
			b.Fatal(len(r.Rows), err)
		}
	}
}

func BenchmarkRead(b *testing.B) {
	t := benchNode(b)
	fillBench(b, t, 20_000)
	for name, n := range map[string]int{"found": 20_000, "missing": 1 << 30} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for i := range b.N {
				key := objectKey(fmt.Sprintf("some/path/%09d", n-i*613%19_000))
				if _, err := t.Handle(context.Background(), key, register.Request{Kind: register.Read}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
