package metatest

import (
	"testing"

	"hangar/shared/metaapi"
	"hangar/shared/object"
)

func TestPeer(t *testing.T) {
	RunPeer(t, func(*testing.T) PeerReplica { return NewReplica() })
}

// TestPeerOverTheWire: the suite holds for a node that is asked over rpc.
func TestPeerOverTheWire(t *testing.T) {
	RunPeer(t, func(t *testing.T) PeerReplica {
		r, net, self := NewReplica(), NewNetwork(), object.NodeID{1}
		stop, err := metaapi.ServePeer(net.Server(self), self, r)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(stop)
		return struct {
			metaapi.Replica
			metaapi.Peer
		}{r, metaapi.NewPeer(net, self)}
	})
}
