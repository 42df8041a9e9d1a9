package metaapi_test

import (
	"testing"
	"time"

	"hangar/shared/layout"
	"hangar/shared/metaapi"
	"hangar/shared/metaapi/metatest"
	"hangar/shared/object"
	"hangar/shared/register"
)

// cluster is some in-memory nodes and a client.
type cluster struct {
	net      *metatest.Network
	rings    *metatest.Rings
	nodes    []object.NodeID
	replicas map[object.NodeID]*metatest.Replica
	servers  map[object.NodeID]*metaapi.Server
	client   *metaapi.Client
}

func testTiming() register.Timing {
	timing := register.DefaultTiming()
	timing.Round = 100 * time.Millisecond
	return timing
}

func newCluster(t testing.TB, rf, nodes int) *cluster {
	t.Helper()
	c := &cluster{
		net:      metatest.NewNetwork(),
		replicas: map[object.NodeID]*metatest.Replica{},
		servers:  map[object.NodeID]*metaapi.Server{},
	}
	for range nodes {
		c.add(t)
	}
	c.rings = metatest.NewRings(nil)
	c.follow(t, metatest.EvenRing(1, rf, c.nodes...))
	c.client = c.newClient()
	return c
}

func (c *cluster) newClient() *metaapi.Client {
	clock := register.NewClock(register.NewNode(), time.Now)
	return metaapi.NewClient(c.net, c.rings, clock, metaapi.Options{Timing: testTiming()})
}

func (c *cluster) add(t testing.TB) object.NodeID {
	t.Helper()
	n := object.NewNodeID()
	c.nodes = append(c.nodes, n)
	c.replicas[n] = metatest.NewReplica()
	srv, err := metaapi.Serve(c.net.Server(n), n, c.replicas[n])
	if err != nil {
		t.Fatal(err)
	}
	c.servers[n] = srv
	return n
}

// follow puts a ring in force everywhere.
func (c *cluster) follow(t testing.TB, ring *layout.Ring) {
	t.Helper()
	for _, s := range c.servers {
		if err := s.Follow(ring); err != nil {
			t.Fatal(err)
		}
	}
	c.rings.Set(ring)
}
