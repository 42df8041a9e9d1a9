package store

import (
	"context"
	"fmt"
	"syscall"
	"testing"
	"time"

	"hangar/shared/blockapi"
	"hangar/shared/blockapi/blockcodec"
	"hangar/shared/blockapi/blocktest"
	"hangar/shared/object"
)

// BenchmarkNode measures one node with fsync on and 8 callers: throughput of
// plain content, and CPU per MB of it.
func BenchmarkNode(b *testing.B) {
	codec, err := blockcodec.New(&blockcodec.Buffers{}, 2)
	if err != nil {
		b.Fatal(err)
	}
	for _, size := range []int{64 << 10, 1 << 20} {
		for name, make := range map[string]func(int) []byte{"random": blocktest.Random, "text": blocktest.Text} {
			b.Run(fmt.Sprintf("put/%s/%dKiB", name, size>>10), func(b *testing.B) {
				w := newWorld(b, func(o *Options) { o.Segments.SegmentBytes = 1 << 30 })
				blocks := prepare(b.N, size, codec, make)
				b.SetParallelism(4)
				measure(b, size, func(i int) error {
					return w.Put(context.Background(), epoch, blocktest.Owner(), blocks[i])
				})
			})
			b.Run(fmt.Sprintf("get/%s/%dKiB", name, size>>10), func(b *testing.B) {
				w := newWorld(b, func(o *Options) { o.Segments.SegmentBytes = 1 << 30 })
				var hashes []object.Hash
				for _, x := range prepare(64, size, codec, make) {
					if err := w.Put(context.Background(), epoch, blocktest.Owner(), x); err != nil {
						b.Fatal(err)
					}
					hashes = append(hashes, x.Hash)
				}
				b.SetParallelism(4)
				measure(b, size, func(i int) error {
					x, err := w.Get(context.Background(), hashes[i%len(hashes)])
					w.opts.Buffers.Put(x.Data)
					return err
				})
			})
		}
	}
}

func prepare(n, size int, codec *blockcodec.Codec, content func(int) []byte) []blockapi.Block {
	blocks := make([]blockapi.Block, n)
	for i := range blocks {
		blocks[i], _ = codec.Encode(content(size))
	}
	return blocks
}

func measure(b *testing.B, size int, do func(i int) error) {
	next := make(chan int, b.N)
	for i := range b.N {
		next <- i
	}
	b.SetBytes(int64(size))
	b.ResetTimer()
	start := cpu()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			if err := do(<-next); err != nil {
				b.Error(err)
			}
		}
	})
	spent := cpu() - start
	b.ReportMetric(float64(spent.Microseconds())/1000/(float64(size)*float64(b.N)/1e6), "cpu-ms/MB")
}

func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
