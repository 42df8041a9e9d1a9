package segment

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// vitals is how the writes and syncs of a log fare.
type vitals struct {
	failed atomic.Pointer[error] // of the last write or sync; nil when it went well
	// busy counts the writes and syncs under way, since when is the time at
	// which there was last none, in Unix nanoseconds. They follow each other
	// closely under load, so an end moves since too.
	busy, since        atomic.Int64
	writtenBytes, read atomic.Int64
}

// begin notes that a write or sync begins; end follows.
func (v *vitals) begin(now time.Time) {
	if v.busy.Load() == 0 { // first: who sees busy must not see an old since
		v.since.Store(now.UnixNano())
	}
	v.busy.Add(1)
}

func (v *vitals) end(now time.Time, err error) {
	v.since.Store(now.UnixNano())
	v.busy.Add(-1)
	if err != nil {
		v.failed.Store(&err)
	} else if v.failed.Load() != nil {
		v.failed.Store(nil)
	}
}

// Failing says why the log's disk is not to be relied on: there is no room for
// the largest record above the reserve, the last write or sync failed, or none
// has ended for longer than stall although one is under way. It waits for none
// of them.
func (l *Log) Failing(stall time.Duration) error {
	if err := l.RoomFor(recordHeader + MaxDataBytes); err != nil {
		return err
	}
	return l.Trouble(stall)
}

// Trouble is Failing without a look at the room.
func (l *Log) Trouble(stall time.Duration) error {
	if err := l.vitals.failed.Load(); err != nil {
		return fmt.Errorf("the last write to %s failed: %w", l.dir, *err)
	}
	return l.Stalled(stall)
}

// Stalled says that a write or sync is under way and none has ended for longer
// than stall.
func (l *Log) Stalled(stall time.Duration) error {
	if l.vitals.busy.Load() > 0 {
		if late := time.Since(time.Unix(0, l.vitals.since.Load())); late > stall {
			return errors.New("a write to " + l.dir + " has not ended for " + late.Round(time.Second).String())
		}
	}
	return nil
}

// Traffic is the bytes that were written to and read from the log's files since
// it was opened, without headers.
func (l *Log) Traffic() (written, read int64) {
	return l.vitals.writtenBytes.Load(), l.vitals.read.Load()
}
