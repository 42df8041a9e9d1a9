package blocks

import (
	"errors"
	"fmt"
	"time"

	"hangar/services/blocks/internal/volume"
	"hangar/shared/blockapi"
)

// Config is what an operator may set; see package config.
type Config struct {
	// Dir is the data directory. Whoever makes the Config sets it.
	Dir string

	DataDirs string `env:"HANGAR_BLOCKS_DATA_DIRS" desc:"Directories for blocks, a disk each, with capacities: /mnt/a=2TB,/mnt/b,/mnt/old=ro (drained), /mnt/dead=lost (its disk is gone); main=500GB is the node's own directory, which keeps the index and takes no blocks unless it is listed. Empty: the node's own directory alone"`

	SegmentMiB  int64         `env:"HANGAR_BLOCKS_SEGMENT_MIB" envDefault:"1024" desc:"Size of the files that blocks are appended to"`
	ReserveMiB  int64         `env:"HANGAR_BLOCKS_RESERVE_MIB" envDefault:"1024" desc:"Free disk space below which writes are refused; half of it is left to compaction"`
	MemTableMiB int64         `env:"HANGAR_BLOCKS_MEMTABLE_MIB" envDefault:"16" desc:"Size of a table of the index in memory; up to six times as much is used"`
	CacheMiB    int64         `env:"HANGAR_BLOCKS_CACHE_MIB" envDefault:"32" desc:"Memory that caches the index"`
	GCGrace     time.Duration `env:"HANGAR_BLOCKS_GC_GRACE" envDefault:"10m" desc:"How long blocks that nobody seems to need are kept; at least 6m"`
	GCUnsafe    bool          `env:"HANGAR_BLOCKS_GC_UNSAFE" desc:"Allow a shorter HANGAR_BLOCKS_GC_GRACE, with which writes under way lose their blocks: for tests only"`
	GCSweep     time.Duration `env:"HANGAR_BLOCKS_GC_SWEEP" envDefault:"24h" desc:"How often every owner of blocks is verified"`
	DeadShare   float64       `env:"HANGAR_BLOCKS_COMPACT_SHARE" envDefault:"0.5" desc:"Share of dead bytes from which a segment is rewritten"`

	RepairInterval    time.Duration `env:"HANGAR_BLOCKS_REPAIR_INTERVAL" envDefault:"10m" desc:"How often what this node holds is compared with its replicas"`
	RepairConcurrency int           `env:"HANGAR_BLOCKS_REPAIR_CONCURRENCY" envDefault:"4" desc:"How many blocks are fetched at once to repair this node or to fill its partitions"`
}

// indexReserve is the part of the reserve that the index leaves: less than
// compaction does, so that it can always record what was moved.
func (c *Config) indexReserve() int64 { return c.ReserveMiB << 20 / 4 }

// maxConcurrency bounds how many blocks are fetched at once.
const maxConcurrency = 64

// Validate implements config.Validator.
func (c *Config) Validate() error {
	if _, err := volume.Parse(c.DataDirs); err != nil {
		return fmt.Errorf("HANGAR_BLOCKS_DATA_DIRS: %w", err)
	}
	switch {
	case c.SegmentMiB < 16 || c.SegmentMiB > 64<<10:
		return errors.New("HANGAR_BLOCKS_SEGMENT_MIB must be between 16 and 65536")
	case c.ReserveMiB < 64:
		return errors.New("HANGAR_BLOCKS_RESERVE_MIB must be at least 64")
	case c.MemTableMiB < 8 || c.MemTableMiB > 256:
		return errors.New("HANGAR_BLOCKS_MEMTABLE_MIB must be between 8 and 256")
	case c.CacheMiB < 8:
		return errors.New("HANGAR_BLOCKS_CACHE_MIB must be at least 8")
	case c.GCGrace < blockapi.MinGrace && !c.GCUnsafe, c.GCGrace < time.Second:
		return fmt.Errorf("HANGAR_BLOCKS_GC_GRACE must be at least %s: writes take up to %s before anything refers to their blocks",
			blockapi.MinGrace, blockapi.MaxUnclaimed)
	case c.GCSweep < c.GCGrace:
		return errors.New("HANGAR_BLOCKS_GC_SWEEP must not be less than HANGAR_BLOCKS_GC_GRACE")
	case c.RepairInterval < time.Second:
		return errors.New("HANGAR_BLOCKS_REPAIR_INTERVAL must be at least 1s")
	case c.RepairConcurrency < 1 || c.RepairConcurrency > maxConcurrency:
		return errors.New("HANGAR_BLOCKS_REPAIR_CONCURRENCY must be between 1 and 64")
	case c.DeadShare < 0.05 || c.DeadShare > 0.95:
		return errors.New("HANGAR_BLOCKS_COMPACT_SHARE must be between 0.05 and 0.95")
	}
	return nil
}
