package objects

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"hangar/shared/blockapi"
	"hangar/shared/metaapi"
	"hangar/shared/object"
	"hangar/shared/record"
)

// Bounds of the queues of hints. A hint that finds no room is dropped: the
// block service finds the dead owner by itself, and Sweep the manifest rows.
const (
	maxHints   = 4096
	maxWaiting = 1 << 16
)

// hint says that a version, or one manifest of it, has probably died.
type hint struct {
	blockapi.Released
	// manifests says that it has manifest rows.
	manifests bool
}

// prefix is what the keys of the manifest rows that may have died begin with.
// Other parts of an upload than the one that is meant may still be written.
func (h hint) prefix() string {
	if h.Manifest.IsZero() {
		return record.ManifestPrefix(h.Version)
	}
	return string(h.Manifest[:])
}

func (s *Service) hint(h hint) {
	select {
	case s.hints <- h:
	default:
	}
}

// replaced hints at the versions whose heads a write of version now replaced.
func (s *Service) replaced(at Location, now object.VersionID, heads [][]byte) {
	for _, b := range heads {
		head, err := record.DecodeObjectHead(b)
		if err != nil || head.Version == now || !head.Blocks && !head.Manifests {
			continue // a head that cannot be read is the reader's to report
		}
		s.hint(hint{
			Released:  blockapi.Released{Bucket: at.Bucket, Key: at.Key, Version: head.Version},
			manifests: head.Manifests,
		})
	}
}

// waiting is a hint whose manifest rows may be looked at once due.
type waiting struct {
	due    time.Time
	bucket object.BucketID
	prefix string
}

// Run passes on hints about what is no longer needed, and sweeps now and then
// for what no hint was given about, until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	var sweeps sync.WaitGroup
	defer sweeps.Wait()
	if s.cfg.Buckets != nil {
		sweeps.Go(func() { s.keepSweeping(ctx) })
	}
	return s.passHints(ctx)
}

// sweepPause keeps a sweep from getting in the way of requests.
const sweepPause = 200 * time.Millisecond

// keepSweeping goes through the manifest rows of all buckets once per
// SweepEvery. Every gateway does; they start at random times, and a row that
// another has removed is no longer there to be looked at.
func (s *Service) keepSweeping(ctx context.Context) {
	wait := rand.N(s.cfg.SweepEvery)
	for pause(ctx, wait) {
		wait = s.cfg.SweepEvery
		for _, b := range s.cfg.Buckets() {
			for after, more := "", true; more && pause(ctx, sweepPause); {
				var err error
				if after, more, err = s.Sweep(ctx, b, after); err != nil {
					s.log.WarnContext(ctx, "sweep of a bucket's block lists stopped; the next one begins again", "error", err)
					more = false
				}
			}
		}
	}
}

// pause waits for d; false when ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (s *Service) passHints(ctx context.Context) error {
	var queue []waiting // by due; bounded by maxWaiting
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case h := <-s.hints:
			s.blocks.Release(ctx, h.Released)
			if !h.manifests || len(queue) == maxWaiting {
				continue
			}
			// A second more than the grace, so that the youngest row is past it.
			due := s.cfg.Now().Add(s.cfg.Grace + time.Second)
			queue = append(queue, waiting{due, h.Bucket, h.prefix()})
		case <-timer.C:
			for len(queue) > 0 && !s.cfg.Now().Before(queue[0].due) {
				s.sweepPrefix(ctx, queue[0])
				queue = queue[1:]
			}
		}
		if len(queue) > 0 {
			timer.Reset(max(0, queue[0].due.Sub(s.cfg.Now())))
		}
	}
}

func (s *Service) sweepPrefix(ctx context.Context, w waiting) {
	for after, more := "", true; more; {
		var err error
		after, more, err = s.sweep(ctx, w.bucket, w.prefix, after, s.cfg.Grace)
		if err != nil {
			s.log.WarnContext(ctx, "manifest rows of a dead version not removed; a sweep will", "error", err)
			return
		}
	}
}

// Sweep looks at a page of a bucket's manifest rows, from after on (empty to
// begin), and removes those whose owner is dead. It returns where to go on.
// One that ends early loses nothing; it is meant for a background worker.
func (s *Service) Sweep(ctx context.Context, bucket object.BucketID, after string) (next string, more bool, err error) {
	return s.sweep(ctx, bucket, "", after, s.cfg.SweepAge)
}

func (s *Service) sweep(ctx context.Context, bucket object.BucketID, prefix, after string, age time.Duration) (string, bool, error) {
	const pageRows = 500
	page, err := s.rows.Scan(ctx, metaapi.Range{
		Table: metaapi.Manifests, Bucket: bucket, Prefix: prefix,
		FromKey: after, FromExcluded: after != "", Limit: pageRows,
	})
	if err != nil {
		return after, false, err
	}
	var judged blockapi.Owner // of the row before: pages of one manifest are neighbours
	var verdict blockapi.Verdict
	for _, e := range page.Entries {
		owner, written, err := manifestOwner(bucket, e)
		if err != nil {
			return after, false, err
		}
		after = e.Key
		if s.cfg.Now().Sub(written) < age {
			continue
		}
		if owner != judged {
			if verdict, err = s.verifier.Verify(ctx, owner); err != nil {
				return after, false, err
			}
			judged = owner
		}
		if verdict != blockapi.Dead {
			continue
		}
		key := metaapi.RowKey{Table: metaapi.Manifests, Bucket: bucket, Key: e.Key}
		if _, err := s.rows.Put(ctx, key, nil); err != nil {
			return after, false, err
		}
	}
	return after, page.More, nil
}

func manifestOwner(bucket object.BucketID, e metaapi.Entry) (blockapi.Owner, time.Time, error) {
	id, _, err := record.ParseManifestKey(e.Key)
	if err != nil {
		return blockapi.Owner{}, time.Time{}, err
	}
	head, err := record.DecodeManifestHead(e.Head)
	return blockapi.Owner{
		Bucket: bucket, Key: head.Key, Version: head.Version, Manifest: id, Part: int32(head.Part),
	}, head.Written, err
}
