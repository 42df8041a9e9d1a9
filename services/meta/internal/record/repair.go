package record

import (
	"encoding/binary"

	"hangar/shared/metaapi"
	"hangar/shared/object"
)

// RepairMark is how far the comparing of rows with another node has come. The
// zero RepairMark is none.
type RepairMark struct {
	Peer object.NodeID
	// Slices that are compared, and the position after which they are still to be.
	Slices metaapi.Slices
	After  []byte
}

// repairBytes is the length of a RepairMark's fixed part.
const repairBytes = len(object.NodeID{}) + len(metaapi.Slices{})*8

// EncodeRepair is the value of a RepairKey.
func EncodeRepair(m RepairMark) []byte {
	b := append(make([]byte, 0, repairBytes+len(m.After)), m.Peer[:]...)
	for _, w := range m.Slices {
		b = binary.BigEndian.AppendUint64(b, w)
	}
	return append(b, m.After...)
}

// DecodeRepair reads the value of a RepairKey.
func DecodeRepair(b []byte) (m RepairMark, err error) {
	if len(b) < repairBytes {
		return m, corrupt("repair mark of %d bytes", len(b))
	}
	rest := b[copy(m.Peer[:], b):]
	for i := range m.Slices {
		m.Slices[i] = binary.BigEndian.Uint64(rest[8*i:])
	}
	m.After = append([]byte(nil), b[repairBytes:]...)
	return m, nil
}
