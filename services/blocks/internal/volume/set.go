package volume

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"hangar/shared/blockapi"
	"hangar/shared/diskprobe"
	"hangar/shared/fault"
	"hangar/shared/freespace"
	"hangar/shared/lifecycle"
	"hangar/shared/segment"
)

const (
	// segmentsDir in a data directory holds its segments.
	segmentsDir = "segments"
	// avoidFor is how long a directory is used only if no other can be after a
	// write to it failed.
	avoidFor = 10 * time.Second
)

// SegmentsOf is where the segments of the data directory at path lie.
func SegmentsOf(path string) string { return filepath.Join(path, segmentsDir) }

// Dir is a directory to be opened.
type Dir struct {
	Slot Slot
	// Path is that of the data directory.
	Path string
	// Use is Write or Drain.
	Use Use
	// CapacityBytes bounds what is written to it; 0: only the disk does.
	CapacityBytes int64
}

// volume is one open directory.
type volume struct {
	Dir
	log *segment.Log
	// shareBytes is what its share is measured by: the capacity, or the size of
	// the file system.
	shareBytes int64
	// probe is nil for the main directory, which its owner watches, and for one
	// that nothing is written to.
	probe *diskprobe.Probe
	// avoided is until when it is avoided, in Unix nanoseconds.
	avoided atomic.Int64
}

// Set is the open directories of a node, as one log: the numbers of segments tell
// them apart. It offers what segment.Log does. Safe for concurrent use.
type Set struct {
	volumes []*volume // in the order of slots; it never changes

	mu      sync.Mutex
	balance balance // guarded by mu
}

// Open opens directories, at least one; durable is as in segment.Open, of all.
// Errors: those of segment.Open, and Corrupt for segments of another directory.
func Open(dirs []Dir, opts segment.Options, durable map[segment.ID]int64) (*Set, error) {
	s := &Set{}
	for _, d := range slices.SortedFunc(slices.Values(dirs), func(a, b Dir) int { return cmp.Compare(a.Slot, b.Slot) }) {
		v, err := open(d, opts, durable)
		if err != nil {
			return nil, errors.Join(err, s.Close())
		}
		s.volumes = append(s.volumes, v)
	}
	return s, nil
}

func open(d Dir, opts segment.Options, durable map[segment.ID]int64) (*volume, error) {
	mine := maps.Clone(durable)
	maps.DeleteFunc(mine, func(id segment.ID, _ int64) bool { return SlotOf(id) != d.Slot })
	opts.First, opts.ReadOnly = d.Slot.first(), d.Use == Drain
	log, err := segment.Open(SegmentsOf(d.Path), opts, mine)
	if err != nil {
		return nil, err
	}
	for _, seg := range log.Segments() {
		if SlotOf(seg.ID) != d.Slot {
			err := fault.New(fault.Corrupt, "%s, data directory %d, holds segment %016x of data directory %d: move the file back to where it was",
				d.Path, d.Slot, uint64(seg.ID), SlotOf(seg.ID))
			return nil, errors.Join(err, log.Close())
		}
	}
	v := &volume{Dir: d, log: log, shareBytes: d.CapacityBytes}
	if v.shareBytes == 0 {
		if v.shareBytes, err = freespace.Size(d.Path); err != nil {
			return nil, errors.Join(fault.Wrap(fault.Denied, err, "the size of %s", d.Path), log.Close())
		}
	}
	if d.Slot != 0 && d.Use == Write {
		logger := opts.Log
		if logger == nil {
			logger = slog.New(slog.DiscardHandler)
		}
		v.probe = diskprobe.New(d.Path, nil, logger)
	}
	return v, nil
}

// Run watches the disks until ctx ends.
func (s *Set) Run(ctx context.Context) error {
	return lifecycle.Run(ctx, func(g *lifecycle.Group) error {
		for _, v := range s.volumes {
			if v.probe != nil {
				g.Go("disk probe "+v.Path, v.probe.Run)
			}
		}
		return nil
	})
}

// Close closes all files; callers have ended everything else.
func (s *Set) Close() error {
	var errs []error
	for _, v := range s.volumes {
		errs = append(errs, v.log.Close())
	}
	return errors.Join(errs...)
}

// Len is how many directories there are.
func (s *Set) Len() int { return len(s.volumes) }

// of is the log of a segment; nil when its directory is not open.
func (s *Set) of(id segment.ID) *volume {
	slot := SlotOf(id)
	i, found := slices.BinarySearchFunc(s.volumes, slot, func(v *volume, slot Slot) int { return cmp.Compare(v.Slot, slot) })
	if !found {
		return nil
	}
	return s.volumes[i]
}

// room is how much may still be written: by the disk above its reserve, and by
// the capacity.
func (v *volume) room(n int64) int64 {
	if v.Use != Write {
		return 0
	}
	room := v.log.Room(n)
	if v.CapacityBytes > 0 {
		room = min(room, v.CapacityBytes-v.log.Bytes())
	}
	return max(room, 0)
}

// trouble says why the directory's disk is not to be relied on, its room aside.
func (v *volume) trouble() error {
	if v.probe != nil {
		if err := v.probe.Failing(); err != nil {
			return err
		}
	}
	return v.log.Trouble(diskprobe.Stall)
}

// sound reports whether the directory is as good as any for a new record: what
// failed lately or does not answer is used only when nothing else can be.
func (v *volume) sound(now time.Time) bool {
	if v.avoided.Load() > now.UnixNano() {
		return false
	}
	return v.probe == nil || v.probe.Failing() == nil && !v.stalled()
}

// stalled reports whether a write does not end; one that failed is over.
func (v *volume) stalled() bool { return v.log.Stalled(diskprobe.Stall) != nil }

// refusal says why a directory has no room for a record of n bytes.
func (v *volume) refusal(n int64) error {
	if err := v.log.RoomFor(n); err != nil {
		return err
	}
	return fault.New(fault.StorageFull, "%s holds %d MiB of a capacity of %d MiB", v.Path, v.log.Bytes()>>20, v.CapacityBytes>>20)
}

// pick chooses the directory for a record of n bytes, none that was tried. limit
// bounds what directories get, if it is not nil. Errors: StorageFull.
func (s *Set) pick(n int64, limit map[Slot]int64, tried []bool) (int, error) {
	now := time.Now()
	for _, soundOnly := range []bool{true, false} {
		rooms := make([]int64, len(s.volumes))
		for i, v := range s.volumes {
			if tried[i] || soundOnly && len(s.volumes) > 1 && !v.sound(now) {
				continue
			}
			rooms[i] = v.room(n)
			if limit != nil {
				rooms[i] = min(rooms[i], limit[v.Slot])
			}
		}
		s.mu.Lock()
		i := s.balance.pick(rooms, n)
		s.mu.Unlock()
		if i >= 0 {
			return i, nil
		}
	}
	var errs []error
	for i, v := range s.volumes {
		if v.Use == Write && !tried[i] {
			errs = append(errs, v.refusal(n))
		}
	}
	return -1, fault.Wrap(fault.StorageFull, cmp.Or(oneLine(errs), errors.New("all are read-only or full")), "no data directory takes a block")
}

// Append is that of segment.Log, in the directory whose turn it is; one that
// fails is passed over. Errors: StorageFull: none took the record.
func (s *Set) Append(b blockapi.Block) (segment.Location, error) { return s.AppendWithin(b, nil) }

// AppendWithin is Append to directories that limit names, each for as much as it
// says; nil is all of them.
func (s *Set) AppendWithin(b blockapi.Block, limit map[Slot]int64) (segment.Location, error) {
	if len(s.volumes) == 1 && limit == nil && s.volumes[0].CapacityBytes == 0 {
		return s.volumes[0].log.Append(b)
	}
	tried := make([]bool, len(s.volumes))
	n := segment.Location{StoredBytes: int64(len(b.Data))}.RecordBytes()
	var errs []error
	for {
		i, err := s.pick(n, limit, tried)
		if err != nil {
			return segment.Location{}, errors.Join(append([]error{err}, errs...)...)
		}
		at, err := s.volumes[i].log.Append(b)
		if err == nil || !fault.Is(err, fault.StorageFull) {
			return at, err
		}
		s.avoid(s.volumes[i])
		tried[i] = true
		errs = append(errs, err)
	}
}

func (s *Set) avoid(v *volume) { v.avoided.Store(time.Now().Add(avoidFor).UnixNano()) }

// AppendMoved is that of segment.Log, in the directory that the record comes
// from. What comes from one that takes nothing goes to the others.
func (s *Set) AppendMoved(b blockapi.Block, from segment.ID) (segment.Location, error) {
	if v := s.of(from); v != nil && v.Use == Write {
		return v.log.AppendMoved(b)
	}
	return s.Append(b)
}

// Sync is that of segment.Log. A directory that fails is avoided for a while.
func (s *Set) Sync(at segment.Location) error {
	v := s.of(at.Segment)
	if v == nil {
		return segment.ErrGone
	}
	err := v.log.Sync(at)
	if err != nil {
		s.avoid(v)
	}
	return err
}

// Settle is that of segment.Log.
func (s *Set) Settle(at segment.Location) {
	if v := s.of(at.Segment); v != nil {
		v.log.Settle(at)
	}
}

// Read is that of segment.Log.
func (s *Set) Read(at segment.Location, buf []byte) error {
	v := s.of(at.Segment)
	if v == nil {
		return segment.ErrGone
	}
	return v.log.Read(at, buf)
}

// Check is that of segment.Log.
func (s *Set) Check(e segment.Entry) error {
	v := s.of(e.Segment)
	if v == nil {
		return segment.ErrGone
	}
	return v.log.Check(e)
}

// ScanFrom is that of segment.Log.
func (s *Set) ScanFrom(id segment.ID, from int64, visit func(segment.Entry) error) error {
	v := s.of(id)
	if v == nil {
		return segment.ErrGone
	}
	return v.log.ScanFrom(id, from, visit)
}

// Remove is that of segment.Log.
func (s *Set) Remove(id segment.ID) error {
	v := s.of(id)
	if v == nil {
		return segment.ErrGone
	}
	return v.log.Remove(id)
}

// Segments lists the files of all directories, by directory, oldest first.
func (s *Set) Segments() (all []segment.Info) {
	for _, v := range s.volumes {
		all = append(all, v.log.Segments()...)
	}
	return all
}

// Draining reports whether a segment lies in a directory that is to be emptied.
func (s *Set) Draining(id segment.ID) bool {
	v := s.of(id)
	return v != nil && v.Use == Drain
}

// Drained goes through the directories that are to be emptied, and what their
// files take.
func (s *Set) Drained() iter.Seq2[Dir, int64] {
	return func(yield func(Dir, int64) bool) {
		for _, v := range s.volumes {
			if v.Use == Drain && !yield(v.Dir, v.log.Bytes()) {
				return
			}
		}
	}
}

// Writable is nil when Append would find room, else the error it would give.
func (s *Set) Writable() error {
	if len(s.volumes) == 1 && s.volumes[0].CapacityBytes == 0 {
		return s.volumes[0].log.Writable()
	}
	var errs []error
	for _, v := range s.volumes {
		if v.Use != Write {
			continue
		}
		if v.room(1) > 0 {
			return nil
		}
		errs = append(errs, v.refusal(1))
	}
	return fault.Wrap(fault.StorageFull, cmp.Or(oneLine(errs), errors.New("all are read-only")), "no data directory takes blocks")
}

// Failing says why no directory is to be relied on for a new block; nil while
// one is.
func (s *Set) Failing() error {
	var errs []error
	for _, v := range s.volumes {
		if v.Use != Write {
			continue
		}
		err := v.failing()
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return cmp.Or(oneLine(errs), errors.New("all data directories are read-only"))
}

// failing says why a directory takes no new block: its disk is in trouble, or
// there is no room for a large one.
func (v *volume) failing() error {
	if err := v.trouble(); err != nil {
		return err
	}
	if v.room(segment.MaxDataBytes) < segment.MaxDataBytes {
		return v.refusal(segment.MaxDataBytes)
	}
	return nil
}

// oneLine puts what is wrong with several directories into one line, as /health
// and lists of nodes show it; nil for none.
func oneLine(errs []error) error {
	if len(errs) < 2 {
		return errors.Join(errs...)
	}
	all := make([]string, len(errs))
	for i, err := range errs {
		all[i] = err.Error()
	}
	return errors.New(strings.Join(all, "; "))
}

// Traffic sums those of all directories.
func (s *Set) Traffic() (written, read int64) {
	for _, v := range s.volumes {
		w, r := v.log.Traffic()
		written, read = written+w, read+r
	}
	return written, read
}

// State is how a directory fares.
type State string

// The states of a directory.
const (
	Writing  State = "writing"
	Full     State = "full"
	Failing  State = "failing"
	Draining State = "draining"
	Empty    State = "empty" // drained: it may be left out of the configuration
)

// Status is what is known of a directory.
type Status struct {
	Dir
	State State
	// Why a directory is full or failing.
	Why string
	// ShareBytes is what its share of all blocks is measured by, UsedBytes what
	// its files take.
	ShareBytes, UsedBytes int64
	// FreeBytes and SizeBytes of its file system; zero when it does not say.
	FreeBytes, SizeBytes int64
}

// Statuses describes all directories, in the order of slots; it waits for no
// write. Empty is decided by the caller, who knows what lives.
func (s *Set) Statuses() []Status {
	all := make([]Status, len(s.volumes))
	for i, v := range s.volumes {
		st := Status{Dir: v.Dir, State: Writing, ShareBytes: v.shareBytes, UsedBytes: v.log.Bytes()}
		st.FreeBytes, _ = freespace.Ask(v.Path)  // zero says that it is not known
		st.SizeBytes, _ = freespace.Size(v.Path) // the same
		if v.Use == Drain {
			st.State = Draining
		} else if err := v.trouble(); err != nil {
			st.State, st.Why = Failing, err.Error()
		} else if err := v.failing(); err != nil {
			st.State, st.Why = Full, err.Error()
		}
		all[i] = st
	}
	return all
}

// Fills is how the directories that take blocks are filled, by what lives in
// them.
func (s *Set) Fills(live map[Slot]int64) (fills []Fill) {
	for _, v := range s.volumes {
		if v.Use == Write {
			fills = append(fills, Fill{Slot: v.Slot, CapacityBytes: v.shareBytes, LiveBytes: live[v.Slot]})
		}
	}
	return fills
}

// String says for people which directory it is.
func (d Dir) String() string { return fmt.Sprintf("data directory %d (%s)", d.Slot, d.Path) }
