package rpc_test

import (
	"testing"

	"go.uber.org/goleak"

	"hangar/shared/rpc"
	"hangar/shared/rpc/rpctest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestNATS(t *testing.T) {
	s := rpctest.NATS(t)
	rpctest.Run(t, func(t *testing.T, o rpc.Options) rpctest.Pair {
		return rpctest.Connected(t, s, nil, o)
	})
}

func TestLane(t *testing.T) {
	s := rpctest.NATS(t)
	rpctest.Run(t, func(t *testing.T, o rpc.Options) rpctest.Pair {
		return rpctest.Connected(t, s, rpc.NewLane(), o)
	})
}
