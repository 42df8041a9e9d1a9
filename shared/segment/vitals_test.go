package segment

import (
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"hangar/shared/blockapi/blocktest"
	"hangar/shared/fault"
)

func failing(t *testing.T, l *Log, want string) {
	t.Helper()
	got := l.Failing(time.Minute)
	if want == "" && got != nil || want != "" && (got == nil || !strings.Contains(got.Error(), want)) {
		t.Errorf("failing with %v, want %q", got, want)
	}
}

// TestFailing: a failed write or sync is told until a later one goes well.
func TestFailing(t *testing.T) {
	var room atomic.Int64
	var syncFail, cutFail atomic.Bool
	room.Store(1 << 40)
	l := open(t, t.TempDir(), Options{OpenFile: func(path string, create bool) (File, error) {
		f, err := openOS(path, create, false, false)
		return faulty{f, &room, &syncFail, &cutFail}, err
	}}, nil)
	b := blocktest.BlockOf(blocktest.Random(1000))
	failing(t, l, "")
	add(t, l, b)
	room.Store(0)
	if _, err := l.Append(b); !fault.Is(err, fault.StorageFull) {
		t.Fatal(err)
	}
	failing(t, l, "failed: ")
	room.Store(1 << 40)
	add(t, l, b)
	failing(t, l, "")
	at, err := l.Append(b)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Settle(at)
	syncFail.Store(true)
	if err := l.Sync(at); !fault.Is(err, fault.StorageFull) {
		t.Fatal(err)
	}
	failing(t, l, syscall.EIO.Error())
}

// stuck is a file whose syncs wait.
type stuck struct {
	File
	let <-chan struct{}
}

func (s stuck) Sync() error { <-s.let; return s.File.Sync() }

// TestStalled: a sync that does not come back is told while it lasts.
func TestStalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		let := make(chan struct{}, 10)
		let <- struct{}{} // for the file's beginning
		l := open(t, t.TempDir(), Options{OpenFile: func(path string, create bool) (File, error) {
			f, err := openOS(path, create, false, false)
			return stuck{f, let}, err
		}}, nil)
		at, err := l.Append(blocktest.BlockOf(blocktest.Random(1000)))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Settle(at)
		time.Sleep(time.Hour) // an idle log does not stall
		failing(t, l, "")
		synced := make(chan error)
		go func() { synced <- l.Sync(at) }()
		time.Sleep(time.Minute)
		failing(t, l, "")
		time.Sleep(time.Second)
		failing(t, l, "has not ended for 1m1s")
		let <- struct{}{}
		if err := <-synced; err != nil {
			t.Fatal(err)
		}
		failing(t, l, "")
	})
}
