package blocktest_test

import (
	"testing"

	"hangar/shared/blockapi"
	"hangar/shared/blockapi/blocktest"
)

func TestStore(t *testing.T) {
	blocktest.RunStore(t, func(*testing.T) blockapi.Store { return blocktest.NewStore() })
}

func TestNode(t *testing.T) {
	blocktest.RunNode(t, func(*testing.T) blockapi.Node { return blocktest.NewNode() })
}
