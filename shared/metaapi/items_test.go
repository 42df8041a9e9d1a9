package metaapi_test

import (
	"math/rand/v2"
	"testing"

	"hangar/shared/metaapi"
	"hangar/shared/metaapi/metatest"
	"hangar/shared/rpc"
	"hangar/shared/rpc/rpctest"
)

// settling is a client on a network that can be waited for.
type settling struct {
	*metaapi.Client
	net *metatest.Network
}

func (s settling) Settle() { s.net.Settle() }

func TestItems(t *testing.T) {
	for name, prepare := range map[string]func(*testing.T) *cluster{
		"one node":      func(t *testing.T) *cluster { return newCluster(t, 1, 1) },
		"three":         func(t *testing.T) *cluster { return newCluster(t, 3, 3) },
		"three of five": func(t *testing.T) *cluster { return newCluster(t, 3, 5) },
		"one cut off": func(t *testing.T) *cluster {
			c := newCluster(t, 3, 3)
			c.net.Cut(c.nodes[rand.IntN(3)], true)
			return c
		},
		"joint": func(t *testing.T) *cluster {
			c := newCluster(t, 3, 3)
			for range 3 {
				c.add(t)
			}
			ring := metatest.EvenRing(2, 3, c.nodes[:3]...)
			ring.Nodes = c.nodes
			ring.Next = metatest.EvenAssignment(3, 6)
			c.follow(t, ring)
			return c
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			metatest.RunItems(t, func(t *testing.T) metaapi.ItemRows {
				c := prepare(t)
				return settling{c.client, c.net}
			})
		})
	}
}

func TestItemsOverNATS(t *testing.T) {
	nats := rpctest.NATS(t)
	metatest.RunItems(t, func(t *testing.T) metaapi.ItemRows { return overRPC(t, nats, nil, 3, 4) })
}

func TestItemsInOneProcess(t *testing.T) {
	nats := rpctest.NATS(t)
	metatest.RunItems(t, func(t *testing.T) metaapi.ItemRows { return overRPC(t, nats, rpc.NewLane(), 3, 3) })
}
