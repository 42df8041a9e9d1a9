package journal_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"hangar/services/meta/internal/journal"
	"hangar/services/meta/internal/journal/journaltest"
	"hangar/services/meta/internal/record"
	"hangar/shared/blockapi"
	"hangar/shared/kv"
	"hangar/shared/kv/badgerkv"
	"hangar/shared/segment"
)

// powered is a journal on a disk whose power may fail.
type powered struct {
	*journal.Store
	base *badgerkv.Store
	disk *journaltest.Disk
}

// start opens what is in dir. The power fails after so many steps, also while
// it is opened; negative: it does not.
func start(t *testing.T, dir string, steps int) (*powered, error) {
	t.Helper()
	base, err := badgerkv.Open(filepath.Join(dir, journaltest.RowsDir), badgerkv.Options{
		MemTableBytes: 4 << 20, CacheBytes: 4 << 20, ReserveBytes: 1, NoSync: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	d := journaltest.New(dir)
	d.FailAfter(steps)
	p := &powered{base: base, disk: d}
	p.Store, err = journal.Open(filepath.Join(dir, journaltest.LogDir), d.Base(base), journal.Options{
		Segments:        segment.Options{SegmentBytes: 100_000, ReserveBytes: 1, OpenFile: d.OpenFile},
		CheckpointBytes: 60_000,
	})
	return p, err
}

// end copies what the power loss leaves, and stops.
func (p *powered) end(t *testing.T, r *rand.Rand) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := p.disk.Lose(dir, r); err != nil {
		t.Fatal(err)
	}
	if p.Store != nil {
		if err := p.Store.Log().Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.base.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// change is what a batch writes: each key gets the same version, and points to
// one body in the log.
type change struct {
	version uint64
	keys    []int
	at      segment.Location
}

func keyOf(i int) []byte { return fmt.Appendf(nil, "r key %d", i) }

// bodyOf is the content of a version's body.
func bodyOf(version uint64) []byte {
	r := rand.New(rand.NewPCG(version, 1))
	b := binary.BigEndian.AppendUint64(nil, version)
	for range r.IntN(500) {
		b = binary.BigEndian.AppendUint64(b, r.Uint64())
	}
	return b
}

func bodyBlock(version uint64) blockapi.Block {
	b := bodyOf(version)
	return blockapi.Block{PlainBytes: int64(len(b)), Data: b}
}

// valueOf is a version and the place of its body, and some weight.
func valueOf(c change, weight int) []byte {
	v := binary.BigEndian.AppendUint64(nil, c.version)
	for _, n := range []int64{int64(c.at.Segment), c.at.Offset, c.at.StoredBytes} {
		v = binary.BigEndian.AppendUint64(v, uint64(n))
	}
	v = binary.BigEndian.AppendUint64(v, c.at.Checksum)
	return append(v, make([]byte, weight)...)
}

// make writes a change.
func (p *powered) make(c *change, r *rand.Rand) error {
	at, err := p.Log().Append(bodyBlock(c.version))
	if err != nil {
		return err
	}
	defer p.Log().Settle(at)
	c.at = at
	var b kv.Batch
	for _, k := range c.keys {
		b.Set(keyOf(k), valueOf(*c, r.IntN(4000)))
	}
	b.Set(record.UsageKey(at.Segment), record.EncodeUsage(record.Usage{LiveBodies: 1, End: at.End()}))
	return p.Commit(&b)
}

// versions reads the version of every key, and the body it points to.
func (p *powered) versions(t *testing.T) map[int]uint64 {
	t.Helper()
	found := map[int]uint64{}
	err := p.View(func(r kv.Reader) error {
		for k := range keys {
			v, ok, err := r.Get(keyOf(k))
			if err != nil || !ok {
				continue
			}
			found[k] = binary.BigEndian.Uint64(v)
			at := segment.Location{
				Segment: segment.ID(binary.BigEndian.Uint64(v[8:])), Offset: int64(binary.BigEndian.Uint64(v[16:])),
				StoredBytes: int64(binary.BigEndian.Uint64(v[24:])), Checksum: binary.BigEndian.Uint64(v[32:]),
			}
			body := make([]byte, at.StoredBytes)
			if err := p.Log().Read(at, body); err != nil || string(body) != string(bodyOf(found[k])) {
				t.Errorf("the body of key %d, version %d: %v", k, found[k], err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

const keys = 40

// TestPowerLoss takes the power away at random moments, also amid checkpoints
// and amid the recovery from the last loss. Every acknowledged change must be
// there, and of the one under way all or nothing.
func TestPowerLoss(t *testing.T) {
	seeds := uint64(40)
	if testing.Short() {
		seeds = 12
	}
	replayed := int64(0)
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { replayed += losePower(t, rand.New(rand.NewPCG(seed, 7))) })
	}
	if replayed < int64(seeds)*10 {
		t.Errorf("only %d records were applied again: the test shows nothing", replayed)
	}
}

func losePower(t *testing.T, r *rand.Rand) (replayed int64) {
	dir := t.TempDir()
	want := map[int]uint64{} // what was acknowledged
	var last *change         // what was under way when the power failed
	version := uint64(0)
	for range 4 {
		// Mostly amid the changes, now and then amid opening.
		p, err := start(t, dir, r.IntN(1+r.IntN(1500)))
		if err == nil {
			replayed += p.Counters().Replayed.Load()
			want, last = reconcile(t, p, want, last), nil
		}
		for err == nil {
			version++
			c := change{version: version}
			for range 1 + r.IntN(6) {
				c.keys = append(c.keys, r.IntN(keys))
			}
			if err = p.make(&c, r); err != nil {
				last = &c
				break
			}
			for _, k := range c.keys {
				want[k] = version
			}
			if r.IntN(40) == 0 {
				err = p.Checkpoint()
			}
		}
		if !errors.Is(err, journaltest.ErrPower) {
			t.Fatalf("not the power: %v", err)
		}
		dir = p.end(t, r)
	}
	p, err := start(t, dir, -1)
	if err != nil {
		t.Fatal(err)
	}
	reconcile(t, p, want, last)
	replayed += p.Counters().Replayed.Load()
	if err := errors.Join(p.Close(), p.base.Close()); err != nil {
		t.Error(err)
	}
	return replayed
}

// reconcile checks that p holds want, and all or nothing of the change that was
// under way. It returns what p holds.
func reconcile(t *testing.T, p *powered, want map[int]uint64, last *change) map[int]uint64 {
	t.Helper()
	got := p.versions(t)
	if last != nil && got[last.keys[0]] == last.version {
		for _, k := range last.keys {
			want[k] = last.version
		}
	}
	for k := range keys {
		if got[k] != want[k] {
			t.Errorf("key %d has version %d, not %d", k, got[k], want[k])
		}
	}
	return got
}
