package segment

import "hangar/shared/fault"

// Writable is nil when Append would find room, else the error it would give.
func (l *Log) Writable() error {
	if l.opts.ReadOnly {
		return fault.New(fault.StorageFull, "%s takes no new blocks", l.dir)
	}
	return l.room(l.opts.ReserveBytes)
}

// RoomFor is nil when there is room for n bytes above the reserve, else StorageFull.
func (l *Log) RoomFor(n int64) error { return l.room(n + l.opts.ReserveBytes) }

// Room is how much Append may still write before it comes to the reserve: none
// when that cannot be told. It may be a few milliseconds old if it is far more
// than want.
func (l *Log) Room(want int64) int64 {
	free, err := l.space.Free(want + l.opts.ReserveBytes)
	if err != nil || l.opts.ReadOnly {
		return 0
	}
	return max(free-l.opts.ReserveBytes, 0)
}

// Bytes is the size of all files.
func (l *Log) Bytes() int64 { return l.bytes.Load() }

func (l *Log) room(want int64) error {
	free, err := l.space.Free(want)
	if err != nil {
		return fault.Wrap(fault.StorageFull, err, "free space of %s", l.dir)
	}
	if free < want {
		return fault.New(fault.StorageFull, "%s has %d MiB free, %d MiB are held in reserve", l.dir, free>>20, l.opts.ReserveBytes>>20)
	}
	return nil
}
