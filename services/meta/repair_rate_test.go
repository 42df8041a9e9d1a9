package meta_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"hangar/shared/metaapi"
)

// BenchmarkCatchUp measures how fast a node that was away for 10,000 small
// writes is whole again, on one disk that three nodes sync.
func BenchmarkCatchUp(b *testing.B) {
	for _, sync := range []bool{true, false} {
		b.Run(fmt.Sprintf("sync=%v", sync), func(b *testing.B) {
			const rows = 10_000
			var spent time.Duration
			for b.Loop() {
				spent += catchUp(b, rows, sync)
			}
			b.ReportMetric(float64(rows*b.N)/spent.Seconds(), "rows/s")
		})
	}
}

func catchUp(b *testing.B, rows int, sync bool) time.Duration {
	c := newTrioWith(b, time.Hour, sync)
	if err := c.running[2].stop(); err != nil {
		b.Fatal(err)
	}
	each(b, rows, func(ctx context.Context, k metaapi.RowKey, _ int) error {
		_, err := c.rows.Put(ctx, k, &metaapi.Value{Head: []byte("a small row"), Count: 1})
		return err
	})
	began := time.Now()
	c.start(b, 2)
	c.await(b, uint64(rows))
	spent := time.Since(began)
	c.stop(b)
	return spent
}
