package index

import (
	"encoding/binary"

	"hangar/shared/fault"
	"hangar/shared/kv"
	"hangar/shared/layout"
)

// markEpoch is the newest epoch of the ring that this node has adopted.
const markEpoch = "epoch"

// Epoch reads the newest epoch adopted; 0 when there is none yet.
func Epoch(r getter) (uint64, error) {
	v, found, err := r.Get(markKey(markEpoch))
	if err != nil || !found {
		return 0, err
	}
	if err := checkValue("epoch", v, 9); err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint64(v[1:]), nil
}

// Admit refuses an epoch older than the newest adopted (OldEpoch), and adopts a
// newer one, in the change that it guards. It returns the newest.
func Admit(tx *kv.Tx, epoch uint64) (uint64, error) {
	now, err := Epoch(tx)
	switch {
	case err != nil:
		return now, err
	case epoch < now:
		return now, fault.New(fault.OldEpoch, "epoch %d is older than %d", epoch, now)
	case epoch > now:
		SetMark(tx, markEpoch, be64(epoch))
	}
	return epoch, nil
}

// Membership is how this node holds a partition.
type Membership struct {
	// Since is the epoch since which it is a member, by the ring.
	Since uint64
	// Complete says that it has everything that was acknowledged before.
	Complete bool
}

func memberKey(p layout.Partition) []byte {
	return key(keyMember, binary.BigEndian.AppendUint16(nil, uint16(p)))
}

// SetMembership remembers how this node holds a partition.
func SetMembership(tx *kv.Tx, p layout.Partition, m Membership) {
	v := append([]byte{formatVersion}, be64(m.Since)...)
	complete := byte(0)
	if m.Complete {
		complete = 1
	}
	tx.Set(memberKey(p), append(v, complete))
}

// Memberships reads how this node holds its partitions, also those that it
// left.
func Memberships(r kv.Reader) (map[layout.Partition]Membership, error) {
	it := r.Iterate([]byte{keyMember})
	defer it.Close()
	all := make(map[layout.Partition]Membership)
	for it.Next() {
		k := it.Key()
		v, err := it.Value()
		if err == nil {
			err = checkValue("partition", v, 10)
		}
		if err != nil {
			return nil, err
		}
		if len(k) != 3 {
			return nil, fault.New(fault.Corrupt, "index: partition key of %d bytes", len(k))
		}
		all[layout.Partition(binary.BigEndian.Uint16(k[1:]))] = Membership{
			Since: binary.BigEndian.Uint64(v[1:]), Complete: v[9] != 0,
		}
	}
	return all, it.Err()
}
