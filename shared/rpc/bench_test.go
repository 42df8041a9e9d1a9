package rpc_test

import (
	"context"
	"fmt"
	"testing"

	"hangar/shared/rpc"
	"hangar/shared/rpc/rpctest"
)

// BenchmarkGather measures a request and a small answer of each node.
func BenchmarkGather(b *testing.B) {
	for _, lane := range []string{"NATS", "lane"} {
		for _, nodes := range []int{1, 3} {
			for _, size := range []int{200, 1 << 20} {
				b.Run(fmt.Sprintf("%s/nodes=%d/bytes=%d", lane, nodes, size), func(b *testing.B) {
					benchGather(b, lane == "lane", nodes, size)
				})
			}
		}
	}
}

func benchGather(b *testing.B, near bool, nodes, size int) {
	var lane *rpc.Lane
	if near {
		lane = rpc.NewLane()
	}
	s := rpctest.NATS(b)
	client := rpctest.Connect(b, s, rpc.Options{Lane: lane})
	t := rpc.Target{Subject: "hangar.test.p.op.7"}
	for range nodes {
		server := rpctest.Connect(b, s, rpc.Options{Lane: lane})
		t.Nodes = append(t.Nodes, server.Node())
		if _, err := server.Handle(t.Subject, func(context.Context, rpc.Message) (rpc.Message, error) {
			return rpc.Message{Head: []byte("answer")}, nil
		}); err != nil {
			b.Fatal(err)
		}
	}
	m := rpc.Message{Head: make([]byte, 100), Payload: make([]byte, size-100)}
	b.SetBytes(int64(size))
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			err := client.Gather(b.Context(), t, m, func(a rpc.Answer) bool {
				if a.Err != nil {
					b.Error(a.Err)
				}
				return false
			})
			if err != nil {
				b.Error(err)
			}
		}
	})
}
