package objects

import (
	"context"
	"log/slog"
	"time"

	"hangar/services/gateway/internal/quota"
	"hangar/shared/blockapi"
	"hangar/shared/fault"
	"hangar/shared/metaapi"
	"hangar/shared/object"
	"hangar/shared/record"
	"hangar/shared/turnstile"
)

// Limits of S3 (https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html).
const (
	// MaxObjectBytes is the most an object may have.
	MaxObjectBytes = record.MaxObjectBytes
	// MaxPartBytes is the most a part, and a copy in one request, may have.
	MaxPartBytes = 5 << 30
	// MinPartBytes is the least that all parts but the last must have.
	MinPartBytes = 5 << 20
	// MaxParts is the most parts of an upload.
	MaxParts = record.MaxPart
)

// Config tunes a Service. Zero fields take the defaults.
type Config struct {
	// InlineBytes is the largest object kept in its row; 32 KiB.
	InlineBytes int64
	// BlockBytes is the size of the blocks larger objects are cut into; 1 MiB.
	BlockBytes int64
	// PageBlocks is how many blocks are listed in one row; 1,024.
	PageBlocks int
	// WriteWindow and ReadWindow are how many blocks of one request are on
	// their way at once; 8 and 4.
	WriteWindow, ReadWindow int
	// WriteMemory and ReadMemory bound the block memory of all requests
	// together, in bytes; 96 MiB each. Requests wait for a first block, and do
	// without read-ahead, when it is used up.
	WriteMemory, ReadMemory int64
	// MinPartBytes is the least size of a part that is not the last; 5 MiB.
	MinPartBytes int64
	// ClaimAfter is when a stream claims its blocks, and how often it renews
	// the claim; 1 minute. A stream that lets five times as long pass without
	// ending a block fails: that must not exceed blockapi.MaxUnclaimed.
	ClaimAfter time.Duration
	// Grace is how long the manifest rows of a stream that has ended are left
	// alone; 15 minutes.
	Grace time.Duration
	// SweepAge is how old manifest rows must be for a sweep to look at them; 48
	// hours. Their writers may still be at work and unclaimed, and have other
	// clocks: by this much, less stallLimit, those may disagree.
	SweepAge time.Duration
	// MayWrite says whether a bucket takes writes; nil means always. It is
	// asked right before an object or upload becomes visible.
	MayWrite func(object.BucketID) error
	// Limits are those of a bucket's quota; nil means that there are none. They
	// are looked up for each write, so it must not wait for anything.
	Limits func(object.BucketID) quota.Limits
	// Buckets lists all buckets, for the sweep; nil turns it off.
	Buckets func() []object.BucketID
	// SweepEvery is the time between sweeps over all manifest rows; 24 hours.
	SweepEvery time.Duration
	// Now is the wall clock; time.Now.
	Now func() time.Time
}

func orDefault[T comparable](v *T, standard T) {
	var zero T
	if *v == zero {
		*v = standard
	}
}

func (c Config) withDefaults() Config {
	orDefault(&c.InlineBytes, 32<<10)
	orDefault(&c.BlockBytes, 1<<20)
	orDefault(&c.PageBlocks, 1024)
	orDefault(&c.WriteWindow, 8)
	orDefault(&c.ReadWindow, 4)
	orDefault(&c.WriteMemory, 96<<20)
	orDefault(&c.ReadMemory, 96<<20)
	orDefault(&c.MinPartBytes, MinPartBytes)
	orDefault(&c.ClaimAfter, time.Minute)
	orDefault(&c.Grace, 15*time.Minute)
	orDefault(&c.SweepAge, 48*time.Hour)
	orDefault(&c.SweepEvery, 24*time.Hour)
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

// Validate reports the first setting that cannot work.
func (c Config) Validate() error {
	c = c.withDefaults()
	switch {
	case c.BlockBytes < 1 || c.BlockBytes > blockapi.MaxBlockBytes:
		return invalid("blocks of %d bytes; at most %d", c.BlockBytes, blockapi.MaxBlockBytes)
	case c.InlineBytes < 0 || c.InlineBytes > c.BlockBytes:
		return invalid("inline objects of %d bytes; at most the block size, %d", c.InlineBytes, c.BlockBytes)
	case c.PageBlocks < 1 || c.PageBlocks > record.MaxPageBlocks:
		return invalid("%d blocks in a row; at most %d", c.PageBlocks, record.MaxPageBlocks)
	case stallLimit*c.ClaimAfter > blockapi.MaxUnclaimed:
		return invalid("claims after %s; at most %s", c.ClaimAfter, blockapi.MaxUnclaimed/stallLimit)
	case c.WriteWindow < 1 || c.ReadWindow < 1:
		return invalid("windows of %d and %d blocks; at least 1", c.WriteWindow, c.ReadWindow)
	}
	return nil
}

// Service implements Store over rows and blocks. Besides the requests' own
// goroutines, which end before the request (or its reader) does, it has those
// of Run.
type Service struct {
	cfg      Config
	rows     metaapi.Rows
	blocks   blockapi.Store
	verifier *record.Verifier
	uploads  record.Uploads
	log      *slog.Logger
	buffers  *buffers
	reads    *tokens
	hints    chan hint
	writes   *turnstile.Turnstile // those that make content visible
	ledger   *quota.Ledger
}

var _ Store = (*Service)(nil)

// New returns a Service; cfg must be valid. It works without Run, except for hints about what is
// no longer needed: those wait in a bounded queue.
func New(rows metaapi.Rows, blocks blockapi.Store, log *slog.Logger, cfg Config) *Service {
	cfg = cfg.withDefaults()
	s := &Service{
		cfg:      cfg,
		rows:     rows,
		blocks:   blocks,
		verifier: record.NewVerifier(rows, cfg.Now),
		uploads:  record.Uploads{Rows: rows, Now: cfg.Now},
		log:      log,
		writes:   turnstile.New(),
		buffers:  newBuffers(cfg.WriteMemory, cfg.BlockBytes),
		reads:    newTokens(cfg.ReadMemory, cfg.BlockBytes),
		hints:    make(chan hint, maxHints),
	}
	s.ledger = quota.NewLedger(s.used, cfg.Now)
	return s
}

func (s *Service) now() time.Time { return s.cfg.Now().Truncate(time.Millisecond).UTC() }

// named makes a fault of one of this package's Err values.
func named(k fault.Kind, err error, msg string, args ...any) error {
	return fault.Wrap(k, err, msg, args...)
}

func noSuchKey(key string) error { return named(fault.NotFound, ErrNoSuchKey, "%q", key) }

func noSuchUpload(upload object.VersionID) error {
	return named(fault.NotFound, ErrNoSuchUpload, "upload %s", upload)
}

func invalid(msg string, args ...any) error { return fault.New(fault.Invalid, msg, args...) }

func checkKey(key string) error {
	if !object.ValidKey(key) {
		return invalid("object keys are 1 to %d bytes of UTF-8", object.MaxKeyBytes)
	}
	return nil
}

// checkNew refuses a key or metadata that could be written but not read.
func checkNew(key string, m Metadata) error {
	if err := checkKey(key); err != nil {
		return err
	}
	return record.Metadata(m).Check()
}

// cleanupTime bounds work that goes on when a request has already failed, its
// client has gone, or its answer is settled. It is the cluster's own work: who
// asked may have lost the right to meanwhile.
const cleanupTime = 20 * time.Second

func cleanupContext(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(metaapi.WithAdmission(context.WithoutCancel(ctx), nil), cleanupTime)
}
