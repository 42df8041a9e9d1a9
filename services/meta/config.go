package meta

import (
	"errors"
	"time"
)

// Config is what an operator may set; see package config.
type Config struct {
	// Dir is the data directory. Whoever makes the Config sets it.
	Dir string

	Sync        bool          `env:"HANGAR_META_SYNC" envDefault:"true" desc:"Sync every write of metadata to the disk before it is acknowledged; false is faster and loses the last writes when power fails"`
	MemTableMiB int64         `env:"HANGAR_META_MEMTABLE_MIB" envDefault:"16" desc:"Size of a table in memory, of which there are up to three; more makes for fewer rewrites of data on the disk"`
	CacheMiB    int64         `env:"HANGAR_META_CACHE_MIB" envDefault:"32" desc:"Memory that caches what is read from the disk; indexes take half as much again"`
	ReserveMiB  int64         `env:"HANGAR_META_RESERVE_MIB" envDefault:"512" desc:"Free disk space below which writes are refused, except that rows may be deleted until about a quarter of it is left; half of it is open to compaction"`
	SegmentMiB  int64         `env:"HANGAR_META_SEGMENT_MIB" envDefault:"256" desc:"Size of the files that the contents of small objects and long lists of blocks are appended to"`
	DeadShare   float64       `env:"HANGAR_META_COMPACT_SHARE" envDefault:"0.5" desc:"Share of dead bytes from which such a file is rewritten"`
	Repair      time.Duration `env:"HANGAR_META_REPAIR_INTERVAL" envDefault:"10m" desc:"How often a node compares its rows with every other replica and repairs what differs; it also does when it starts, and when another returns or the layout has changed"`
	Grace       time.Duration `env:"HANGAR_META_TOMBSTONE_GRACE" envDefault:"1h" desc:"How long the marker of a deleted row is kept at least"`

	SnapshotInterval time.Duration `env:"HANGAR_META_SNAPSHOT_INTERVAL" envDefault:"0s" desc:"How often a copy of the metadata is kept, of which the newest two stay; 0s: by order only"`
	SnapshotDir      string        `env:"HANGAR_META_SNAPSHOT_DIR" desc:"Directory of these copies; empty: the folder snapshots of the data directory, where most of their files are shared with it"`
}

// rowsReserve is the part of the reserve that the rows leave: less than the
// compaction of bodies does, so that it can always record what was moved, but if
// possible what the store needs to be opened again.
func (c *Config) rowsReserve() int64 {
	return max(c.ReserveMiB/4, min(4*c.MemTableMiB, c.ReserveMiB/2)) << 20
}

// Validate implements config.Validator.
func (c *Config) Validate() error {
	switch {
	case c.MemTableMiB < 8 || c.MemTableMiB > 256:
		return errors.New("HANGAR_META_MEMTABLE_MIB must be between 8 and 256")
	case c.CacheMiB < 8:
		return errors.New("HANGAR_META_CACHE_MIB must be at least 8")
	case c.ReserveMiB < 64:
		return errors.New("HANGAR_META_RESERVE_MIB must be at least 64")
	case c.SegmentMiB < 1 || c.SegmentMiB > 16<<10:
		return errors.New("HANGAR_META_SEGMENT_MIB must be between 1 and 16384")
	case c.DeadShare < 0.05 || c.DeadShare > 0.95:
		return errors.New("HANGAR_META_COMPACT_SHARE must be between 0.05 and 0.95")
	case c.Repair < time.Second:
		return errors.New("HANGAR_META_REPAIR_INTERVAL must be at least 1s")
	case c.SnapshotInterval < 0:
		return errors.New("HANGAR_META_SNAPSHOT_INTERVAL must not be less than 0s")
	case c.Grace < time.Second:
		return errors.New("HANGAR_META_TOMBSTONE_GRACE must be at least 1s")
	}
	return nil
}
