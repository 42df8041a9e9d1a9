// Package rpctest holds the conformance suite of rpc's contract and what tests
// of services need to talk over a real NATS server.
package rpctest

import (
	"testing"

	"hangar/shared/natsd"
	"hangar/shared/object"
	"hangar/shared/rpc"
)

// NATS starts a server that lives as long as the test.
func NATS(t testing.TB) *natsd.Server {
	t.Helper()
	s, err := natsd.Start(natsd.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Shutdown)
	return s
}

// Connect returns a connection to s that lives as long as the test. A zero
// o.Node becomes a fresh one.
func Connect(t testing.TB, s *natsd.Server, o rpc.Options) *rpc.Conn {
	t.Helper()
	o.InProcess = s.InProcess()
	if o.Node.IsZero() {
		o.Node = object.NewNodeID()
	}
	c, err := rpc.Connect(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// Pair is a caller and three servers that it reaches.
type Pair struct {
	Client  rpc.Caller
	Servers []rpc.Server
	Nodes   []object.NodeID
}

// Connected makes a Pair over s; with a lane, past it.
func Connected(t testing.TB, s *natsd.Server, lane *rpc.Lane, o rpc.Options) Pair {
	t.Helper()
	o.Lane = lane
	p := Pair{Client: Connect(t, s, o)}
	for range 3 {
		c := Connect(t, s, o)
		p.Servers = append(p.Servers, c)
		p.Nodes = append(p.Nodes, c.Node())
	}
	return p
}
