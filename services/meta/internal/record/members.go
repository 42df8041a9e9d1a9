package record

import (
	"encoding/binary"
	"math"
)

// Holding is what a node remembers of one partition. The zero Holding is of one
// it has nothing of.
type Holding struct {
	// Since is the epoch since which the node has been a member without a
	// break; 0 when it is none.
	Since uint64
	// Stale says that rows of an earlier membership may be left. Since is 0.
	Stale bool
}

// membersVersion is that of the record under MembersKey.
const membersVersion = 1

// staleMark stands for a stale Holding: no epoch gets there.
const staleMark = math.MaxUint64

// EncodeMembers is the value of a MembersKey. Holdings are by partition.
func EncodeMembers(holdings []Holding) []byte {
	b := append(make([]byte, 0, 1+8*len(holdings)), membersVersion)
	for _, h := range holdings {
		since := h.Since
		if h.Stale {
			since = staleMark
		}
		b = binary.BigEndian.AppendUint64(b, since)
	}
	return b
}

// DecodeMembers reads the value of a MembersKey for so many partitions.
func DecodeMembers(b []byte, partitions int) ([]Holding, error) {
	if len(b) != 1+8*partitions || b[0] != membersVersion {
		return nil, corrupt("record of members of %d bytes", len(b))
	}
	holdings := make([]Holding, partitions)
	for p := range holdings {
		if since := binary.BigEndian.Uint64(b[1+8*p:]); since == staleMark {
			holdings[p].Stale = true
		} else {
			holdings[p].Since = since
		}
	}
	return holdings, nil
}
