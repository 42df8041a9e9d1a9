package metaapi_test

import (
	"context"
	"fmt"
	"testing"

	"hangar/shared/metaapi"
	"hangar/shared/rpc"
	"hangar/shared/rpc/rpctest"
)

// The nodes are in memory: what shows is the work of client, wire and lane.
func BenchmarkClient(b *testing.B) {
	nats := rpctest.NATS(b)
	for _, size := range []struct {
		name string
		lane *rpc.Lane
		rf   int
	}{{"lane1", rpc.NewLane(), 1}, {"lane3", rpc.NewLane(), 3}, {"nats3", nil, 3}} {
		b.Run(size.name, func(b *testing.B) { benchmarkClient(b, overRPC(b, nats, size.lane, size.rf, size.rf)) })
	}
}

func benchmarkClient(b *testing.B, client *metaapi.Client) {
	ctx := context.Background()
	v := &metaapi.Value{Head: make([]byte, 200), Body: make([]byte, 4096), Count: 1, Bytes: 4096}
	keys := make([]metaapi.RowKey, 1000)
	for i := range keys {
		keys[i] = key(fmt.Sprint("k", i))
		if _, err := client.Put(ctx, keys[i], v); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("put", func(b *testing.B) {
		b.ReportAllocs()
		for i := range b.N {
			if _, err := client.Put(ctx, keys[i%1000], v); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("get", func(b *testing.B) {
		b.ReportAllocs()
		for i := range b.N {
			if _, err := client.Get(ctx, keys[i%1000]); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("get-admitted", func(b *testing.B) { // the context is made once per request of a client
		ctx := metaapi.WithAdmission(ctx, newAdmission(1<<40))
		b.ReportAllocs()
		for i := range b.N {
			if _, err := client.Get(ctx, keys[i%1000]); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("scan1000", func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			page, err := client.Scan(ctx, metaapi.Range{Table: metaapi.Objects, Bucket: bucket, Limit: 1000})
			if err != nil || len(page.Entries) != 1000 {
				b.Fatal(len(page.Entries), err)
			}
		}
	})
}
