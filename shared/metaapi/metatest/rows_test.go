package metatest

import (
	"testing"

	"hangar/shared/metaapi"
)

func TestFakeRows(t *testing.T) {
	RunRows(t, func(*testing.T) metaapi.Rows { return NewRows() })
}

func TestMemoryReplica(t *testing.T) {
	RunReplica(t, func(*testing.T) metaapi.Replica { return NewReplica() })
}

func TestMemoryReplicaAdmission(t *testing.T) {
	RunAdmission(t, func(*testing.T) (metaapi.Replica, func(uint64)) {
		r := NewReplica()
		return r, r.SetAccess
	})
}
