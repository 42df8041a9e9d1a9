package memkv_test

import (
	"testing"

	"hangar/shared/kv"
	"hangar/shared/kv/kvtest"
	"hangar/shared/kv/memkv"
)

func TestConformance(t *testing.T) {
	kvtest.Run(t, func(*testing.T) kv.Store { return new(memkv.Store) })
}
