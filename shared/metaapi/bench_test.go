package metaapi_test

import (
	"context"
	"fmt"
	"testing"

	"hangar/shared/metaapi"
)

// direct calls the one handler of a subject on the caller's goroutine, as the
// in-process lane does.
func benchmarkClient(b *testing.B, rf int) {
	c := newCluster(b, rf, rf)
	ctx := context.Background()
	v := &metaapi.Value{Head: make([]byte, 200), Body: make([]byte, 4096), Count: 1, Bytes: 4096}
	b.Run("put", func(b *testing.B) {
		b.ReportAllocs()
		for i := range b.N {
			if _, err := c.client.Put(ctx, key(fmt.Sprint("k", i%1000)), v); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("get", func(b *testing.B) {
		b.ReportAllocs()
		for i := range b.N {
			if _, err := c.client.Get(ctx, key(fmt.Sprint("k", i%1000))); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("scan1000", func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			page, err := c.client.Scan(ctx, metaapi.Range{Table: metaapi.Objects, Bucket: bucket, Limit: 1000})
			if err != nil || len(page.Entries) == 0 {
				b.Fatal(len(page.Entries), err)
			}
		}
	})
}

func BenchmarkOneReplica(b *testing.B)    { benchmarkClient(b, 1) }
func BenchmarkThreeReplicas(b *testing.B) { benchmarkClient(b, 3) }
