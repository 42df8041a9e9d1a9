package metaapi_test

import (
	"testing"
	"time"

	"hangar/shared/metaapi"
	"hangar/shared/metaapi/metatest"
	"hangar/shared/natsd"
	"hangar/shared/object"
	"hangar/shared/register"
	"hangar/shared/rpc"
	"hangar/shared/rpc/rpctest"
)

// overRPC is a client and some in-memory nodes on real connections.
func overRPC(t testing.TB, nats *natsd.Server, lane *rpc.Lane, rf, nodes int) *metaapi.Client {
	t.Helper()
	return overRPCWith(t, nats, lane, rf, nodes, func(*metatest.Replica) {})
}

// overRPCWith is overRPC that shows each node.
func overRPCWith(t testing.TB, nats *natsd.Server, lane *rpc.Lane, rf, nodes int, show func(*metatest.Replica)) *metaapi.Client {
	t.Helper()
	var ids []object.NodeID
	var servers []*metaapi.Server
	for range nodes {
		conn := rpctest.Connect(t, nats, rpc.Options{Lane: lane})
		replica := metatest.NewReplica()
		show(replica)
		srv, err := metaapi.Serve(conn, conn.Node(), replica)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(srv.Close)
		ids = append(ids, conn.Node())
		servers = append(servers, srv)
	}
	ring := metatest.EvenRing(1, rf, ids...)
	for _, srv := range servers {
		if err := srv.Follow(ring); err != nil {
			t.Fatal(err)
		}
	}
	clock := register.NewClock(register.NewNode(), time.Now)
	caller := rpctest.Connect(t, nats, rpc.Options{Lane: lane})
	return metaapi.NewClient(caller, metatest.NewRings(ring), clock, metaapi.Options{})
}

func TestClientOverNATS(t *testing.T) {
	nats := rpctest.NATS(t)
	metatest.RunRows(t, func(t *testing.T) metaapi.Rows { return overRPC(t, nats, nil, 3, 4) })
}

func TestClientInOneProcess(t *testing.T) {
	nats := rpctest.NATS(t)
	t.Run("rf1", func(t *testing.T) {
		metatest.RunRows(t, func(t *testing.T) metaapi.Rows { return overRPC(t, nats, rpc.NewLane(), 1, 1) })
	})
	t.Run("rf3", func(t *testing.T) {
		metatest.RunRows(t, func(t *testing.T) metaapi.Rows { return overRPC(t, nats, rpc.NewLane(), 3, 3) })
	})
}
