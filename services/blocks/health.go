package blocks

import (
	"cmp"
	"errors"
	"fmt"
	"sync"
	"time"

	"hangar/services/blocks/internal/store"
	"hangar/services/blocks/internal/volume"
	"hangar/shared/nodeapi"
)

// Failing says why this node is not to be relied on to store anything, nil while
// one of its data directories takes blocks and the index can be written to. It
// waits for no disk.
func (s *Service) Failing() error {
	s.opened.RLock()
	defer s.opened.RUnlock()
	st := s.store
	if st == nil {
		return nil
	}
	return cmp.Or(st.Writable(), s.disk.Failing(), st.DiskFailing())
}

// show makes the state of an open store visible to Failing and Disks, nil hides
// it: then nobody looks at it any more.
func (s *Service) show(st *store.Store) {
	s.opened.Lock()
	defer s.opened.Unlock()
	s.store = st
}

// check reports why requests would fail at present.
func (s *Service) check() error {
	if err := s.Failing(); err != nil {
		return err
	}
	if ring := s.ring(); ring != nil && s.followed.Load() < ring.Epoch {
		return errors.New("the current layout is not followed yet")
	}
	return nil
}

// warnings say which data directories take no blocks although they should, while
// others do.
func (s *Service) warnings() (all []string) {
	_, dirs := s.Disks()
	for _, d := range dirs {
		if d.Why != "" {
			all = append(all, fmt.Sprintf("data directory %d (%s) is %s: %s", d.Number, d.Path, d.State, d.Why))
		}
	}
	return all
}

// disksFor is how long what was found out about the data directories is used:
// several admin processes ask every second, and summing up what lives in many
// segments takes a while.
const disksFor = 2 * time.Second

// disks is what was found out last.
type disks struct {
	mu   sync.Mutex
	at   time.Time           // guarded by mu
	all  nodeapi.Disk        // guarded by mu
	dirs []nodeapi.Directory // guarded by mu; never changed, only replaced
}

// Disks is the room for blocks in all data directories that take them, and how
// each directory fares, both up to two seconds old; none while the store is not
// open.
func (s *Service) Disks() (nodeapi.Disk, []nodeapi.Directory) {
	d := &s.disks
	d.mu.Lock()
	defer d.mu.Unlock()
	if time.Since(d.at) > disksFor {
		d.all, d.dirs = s.look()
		d.at = time.Now()
	}
	return d.all, d.dirs
}

// look finds out what Disks says.
func (s *Service) look() (all nodeapi.Disk, dirs []nodeapi.Directory) {
	s.opened.RLock()
	defer s.opened.RUnlock()
	if s.store == nil {
		return all, nil
	}
	list, err := s.store.Directories()
	if err != nil {
		return all, nil // the index cannot be read: requests say so
	}
	for _, d := range list {
		dirs = append(dirs, nodeapi.Directory{
			Number: int(d.Slot), Path: d.Path, State: string(d.State), Why: d.Why,
			CapacityBytes: d.CapacityBytes, UsedBytes: d.UsedBytes, LiveBytes: d.LiveBytes, LiveBlocks: d.LiveBlocks,
			FreeBytes: d.FreeBytes, TotalBytes: d.SizeBytes,
		})
		if d.Use != volume.Write {
			continue
		}
		free, size := d.FreeBytes, d.SizeBytes
		if d.CapacityBytes > 0 {
			free, size = max(min(free, d.CapacityBytes-d.UsedBytes), 0), min(size, d.CapacityBytes)
		}
		all.FreeBytes, all.TotalBytes = all.FreeBytes+free, all.TotalBytes+size
	}
	return all, dirs
}
