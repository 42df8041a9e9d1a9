package index

import (
	"time"

	"hangar/shared/blockapi"
	"hangar/shared/kv"
	"hangar/shared/object"
	"hangar/shared/segment"
)

// MaxChange is the most blocks in one change: it must fit a commit.
const MaxChange = 1000

// Touch is who comes to refer to blocks, and when.
type Touch struct {
	Owner blockapi.Owner
	Now   time.Duration
	// Coarse is how old the owner's time may be before it is written again.
	Coarse time.Duration
}

// PutBlock remembers a block that is durable at b's Location and that t.Owner
// refers to it. A block that is known already stays where it is, unless that is
// bad: where it cannot be read.
func PutBlock(tx *kv.Tx, t Touch, h object.Hash, b Block, bad segment.Location) error {
	known, found, err := getBlock(tx, h)
	if err != nil {
		return err
	}
	replaces := found && known.Location == bad
	if replaces {
		if err := account(tx, bad, -1); err != nil {
			return err
		}
	}
	if replaces && known.Refs > 0 {
		if err := resize(tx, h, b.StoredBytes-known.StoredBytes); err != nil {
			return err
		}
	}
	if !found || replaces {
		b.Refs = known.Refs
		known = b
		if err := account(tx, b.Location, 1); err != nil {
			return err
		}
		tx.Set(blockKey(h), b.encode())
	}
	if err := addRef(tx, IDOf(t.Owner), h, known); err != nil {
		return err
	}
	return touch(tx, t)
}

// Refer makes t.Owner refer to known blocks, at most MaxChange. It returns
// those that are not known.
func Refer(tx *kv.Tx, t Touch, hashes []object.Hash) (missing []object.Hash, err error) {
	id := IDOf(t.Owner)
	for _, h := range hashes {
		b, found, err := getBlock(tx, h)
		if err != nil {
			return nil, err
		}
		if !found {
			missing = append(missing, h)
			continue
		}
		if err := addRef(tx, id, h, b); err != nil {
			return nil, err
		}
	}
	if len(missing) == len(hashes) {
		return missing, nil
	}
	return missing, touch(tx, t)
}

// addRef adds one reference to b and writes b, unless it is there already. An
// unknown block has no references.
func addRef(tx *kv.Tx, o OwnerID, h object.Hash, b Block) error {
	_, found, err := tx.Get(refKey(h, o))
	if err != nil || found {
		return err
	}
	if err := summarise(tx, h, o, b, b.Refs == 0, 1); err != nil {
		return err
	}
	b.Refs++
	tx.Set(refKey(h, o), nil)
	tx.Set(listKey(o, h), nil)
	tx.Set(blockKey(h), b.encode())
	return nil
}

func touch(tx *kv.Tx, t Touch) error {
	id := IDOf(t.Owner)
	o, found, err := getOwner(tx, id)
	if err != nil {
		return err
	}
	if !found || t.Now-o.Touched >= t.Coarse {
		tx.Set(ownerKey(id), Owner{Owner: t.Owner, Touched: t.Now}.encode())
	}
	return nil
}

// account counts a record in (sign 1) or out (-1) of what lives in its segment.
func account(tx *kv.Tx, at segment.Location, sign int64) error {
	u, err := getUsage(tx, at.Segment)
	if err != nil {
		return err
	}
	u.LiveBytes += sign * at.RecordBytes()
	u.LiveBlocks += sign
	u.End = max(u.End, at.End())
	tx.Set(segmentKey(at.Segment), u.encode())
	return nil
}

// DropRefs takes an owner's references to hashes away, at most MaxChange, and
// forgets the blocks that nobody refers to then. It does nothing when the
// owner was touched since it was read with time touched: kept is true then.
func DropRefs(tx *kv.Tx, o OwnerID, touched time.Duration, hashes []object.Hash) (kept bool, err error) {
	now, found, err := getOwner(tx, o)
	if err != nil || (found && now.Touched != touched) {
		return true, err
	}
	for _, h := range hashes {
		if err := dropRef(tx, o, h); err != nil {
			return true, err
		}
	}
	return false, nil
}

func dropRef(tx *kv.Tx, o OwnerID, h object.Hash) error {
	_, found, err := tx.Get(refKey(h, o))
	if err != nil {
		return err
	}
	tx.Delete(listKey(o, h))
	if !found {
		return nil
	}
	tx.Delete(refKey(h, o))
	b, found, err := getBlock(tx, h)
	switch {
	case err != nil || !found:
		return err
	case b.Refs > 1:
		b.Refs--
		tx.Set(blockKey(h), b.encode())
		return summarise(tx, h, o, b, false, -1)
	}
	if err := summarise(tx, h, o, b, true, -1); err != nil {
		return err
	}
	tx.Delete(blockKey(h))
	return account(tx, b.Location, -1)
}

// ForgetOwner drops the record of an owner that has no references left, unless
// it was touched meanwhile.
func ForgetOwner(tx *kv.Tx, o OwnerID, touched time.Duration) (kept bool, err error) {
	now, found, err := getOwner(tx, o)
	if err != nil || (found && now.Touched != touched) {
		return true, err
	}
	tx.Delete(ownerKey(o))
	return false, nil
}

// Move remembers that the record at from lies at to now. It does nothing, and
// says so, when the block is gone or elsewhere.
func Move(tx *kv.Tx, h object.Hash, from, to segment.Location) (moved bool, err error) {
	b, found, err := getBlock(tx, h)
	if err != nil || !found || b.Location != from {
		return false, err
	}
	if err := account(tx, from, -1); err != nil {
		return false, err
	}
	b.Location = to
	tx.Set(blockKey(h), b.encode())
	return true, account(tx, to, 1)
}

// ForgetSegment drops the record of a segment in which nothing lives. It says
// no when something does.
func ForgetSegment(tx *kv.Tx, id segment.ID) (empty bool, err error) {
	u, err := getUsage(tx, id)
	if err != nil || u.LiveBytes > 0 {
		return false, err
	}
	tx.Delete(segmentKey(id))
	return true, nil
}

// Enqueue asks for an owner to be verified at due, after tries that failed.
func Enqueue(tx *kv.Tx, due time.Duration, o OwnerID, tries uint32) {
	tx.Set(queueKey(due, o), append([]byte{formatVersion}, be64(uint64(tries))...))
}

// Dequeue takes an entry off the queue.
func Dequeue(tx *kv.Tx, e Queued) { tx.Delete(queueKey(e.Due, e.Owner)) }

// SetMark stores a named value in a change or a batch.
func SetMark(tx interface{ Set(key, value []byte) }, name string, value []byte) {
	tx.Set(markKey(name), append([]byte{formatVersion}, value...))
}

// getter is a kv.Tx or kv.Reader.
type getter interface {
	Get(key []byte) (value []byte, found bool, err error)
}

func getBlock(g getter, h object.Hash) (b Block, found bool, err error) {
	v, found, err := g.Get(blockKey(h))
	if err == nil && found {
		b, err = decodeBlock(v)
	}
	return b, found, err
}

func getOwner(g getter, id OwnerID) (o Owner, found bool, err error) {
	v, found, err := g.Get(ownerKey(id))
	if err == nil && found {
		o, err = decodeOwner(id, v)
	}
	return o, found, err
}

// getUsage returns zeros for a segment that the index does not know.
func getUsage(g getter, id segment.ID) (u Usage, err error) {
	v, found, err := g.Get(segmentKey(id))
	if err == nil && found {
		u, err = decodeUsage(v)
	}
	return u, err
}
