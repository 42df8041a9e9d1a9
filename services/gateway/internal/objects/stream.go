package objects

import (
	"context"
	"io"
	"sync"
	"time"

	"hangar/shared/blockapi"
	"hangar/shared/fault"
	"hangar/shared/metaapi"
	"hangar/shared/object"
	"hangar/shared/record"
)

// stream writes one content as blocks, and the list of them as manifest rows
// where it does not fit one row. A few blocks are on their way while the next
// is read, so its memory does not depend on the content's size.
//
// One goroutine calls its methods; release must end it.
type stream struct {
	s      *Service
	ctx    context.Context
	cancel context.CancelCauseFunc
	owner  blockapi.Owner
	slots  chan struct{} // one per block on its way
	flying sync.WaitGroup

	mu   sync.Mutex
	page record.Hashes // guarded by mu; the list since the last full page

	size    int64
	pages   int       // written so far
	kept    time.Time // when the claim was last renewed, or the stream began
	claimed bool
}

func (s *Service) newStream(ctx context.Context, at Location, version object.VersionID, part int) *stream {
	ctx, cancel := context.WithCancelCause(ctx)
	now := s.cfg.Now()
	return &stream{
		s: s, ctx: ctx, cancel: cancel,
		owner: blockapi.Owner{
			Bucket: at.Bucket, Key: at.Key, Version: version,
			Manifest: record.NewManifestID(version, part), Part: int32(part),
		},
		slots: make(chan struct{}, s.cfg.WriteWindow),
		kept:  now,
	}
}

// fill reads until p is full or r ended. What r says when it did not end well
// is returned as it is.
func fill(r io.Reader, p []byte) (n int, ended bool, err error) {
	for idle := 0; n < len(p); {
		m, err := r.Read(p[n:])
		n += m
		switch {
		case err == io.EOF: //nolint:errorlint // a wrapped EOF is no end
			return n, true, nil
		case err != nil:
			return n, false, err
		case m > 0:
			idle = 0
		default:
			if idle++; idle == 100 {
				return n, false, io.ErrNoProgress
			}
		}
	}
	return n, false, nil
}

// writeAll stores what is in first and the rest of r. first is the stream's.
func (w *stream) writeAll(r io.Reader, first *buffer, n int, ended bool, limit int64) error {
	buf := first
	for {
		w.size += int64(n)
		if w.size > limit {
			w.s.buffers.put(buf)
			return named(fault.Invalid, ErrEntityTooLarge, "more than %d bytes", limit)
		}
		if n == 0 {
			w.s.buffers.put(buf)
		} else if err := w.add(buf, n); err != nil {
			return err
		}
		if ended {
			return nil
		}
		var err error
		if buf, err = w.s.buffers.get(w.ctx); err != nil {
			return w.failure(err)
		}
		if n, ended, err = fill(r, buf.data); err != nil {
			w.s.buffers.put(buf)
			return err
		}
	}
}

// add sends a block on its way; buf is no longer the caller's.
func (w *stream) add(buf *buffer, n int) error {
	err := w.claim()
	if err == nil && w.page.Len() == w.s.cfg.PageBlocks {
		err = w.flush()
	}
	if err != nil {
		w.s.buffers.put(buf)
		return err
	}
	select {
	case w.slots <- struct{}{}:
	case <-w.ctx.Done():
		w.s.buffers.put(buf)
		return w.failure(w.ctx.Err())
	}
	w.mu.Lock()
	at := len(w.page)
	w.page = append(w.page, make([]byte, len(object.Hash{}))...)
	w.mu.Unlock()
	w.flying.Go(func() {
		hash, err := w.s.blocks.Put(w.ctx, w.owner, buf.data[:n])
		w.s.buffers.put(buf)
		if err != nil {
			w.cancel(err)
		}
		w.mu.Lock()
		copy(w.page[at:], hash[:])
		w.mu.Unlock()
		<-w.slots
	})
	return nil
}

// failure is why the stream stopped: the first block that could not be
// written, else err.
func (w *stream) failure(err error) error {
	if w.ctx.Err() != nil {
		return context.Cause(w.ctx)
	}
	return err
}

// settle waits for all blocks on their way.
func (w *stream) settle() error {
	w.flying.Wait()
	return w.failure(nil)
}

// flush writes the page as a manifest row.
func (w *stream) flush() error {
	if err := w.settle(); err != nil {
		return err
	}
	if err := w.s.putPage(w.ctx, w.owner, w.pages, record.Page{Hashes: w.page}); err != nil {
		return w.failure(err)
	}
	w.page = w.page[:0]
	w.pages++
	return nil
}

// finish ends the writing: all blocks are stored and listed when it returns
// nil. With paged the list is in manifest rows whatever its length; else
// hashes is the list if it fits one row.
func (w *stream) finish(paged bool) (m record.Manifest, hashes record.Hashes, err error) {
	if err := w.claim(); err != nil {
		return m, nil, err
	}
	if err := w.settle(); err != nil {
		return m, nil, err
	}
	m = w.s.manifest(w.owner.Manifest, w.size)
	if w.pages == 0 && !paged {
		return m, w.page, nil
	}
	return m, nil, w.flush()
}

func (s *Service) manifest(id object.ManifestID, size int64) record.Manifest {
	return record.Manifest{ID: id, Size: size, BlockBytes: s.cfg.BlockBytes, PageBlocks: s.cfg.PageBlocks}
}

// putPage writes one manifest row. It goes to a fresh id: nobody replaces it.
func (s *Service) putPage(ctx context.Context, o blockapi.Owner, page int, p record.Page) error {
	head := record.ManifestHead{Key: o.Key, Version: o.Version, Part: int(o.Part), Written: s.now()}
	value := &metaapi.Value{
		Head: head.Append(nil),
		Body: p.Append(make([]byte, 0, 2+len(p.Hashes)+len(p.Data))),
	}
	_, err := s.rows.Put(ctx, record.ManifestKey(o.Bucket, o.Manifest, page), value)
	return err
}

// stallLimit is how many times ClaimAfter may pass between two blocks.
const stallLimit = 5

// claimLife is how long a claim lasts. Whoever judges it does so by another
// clock: that one must not be ahead by this much, less stallLimit. A claim that
// outlives its stream only delays the return of space.
const claimLife = 48 * time.Hour

// claim keeps the blocks of a long stream from being collected: until the
// object's row refers to them, nothing else does. Short streams need none, the
// block service's grace period covers them.
func (w *stream) claim() error {
	now := w.s.cfg.Now()
	switch idle := now.Sub(w.kept); {
	case idle < w.s.cfg.ClaimAfter:
		return nil
	case idle > stallLimit*w.s.cfg.ClaimAfter:
		return fault.New(fault.Unavailable, "no block of the content came to its end in %s", idle)
	}
	c := record.Claim{Until: now.Add(claimLife)}
	key := record.ClaimKey(w.owner.Bucket, w.owner.Key, w.owner.Manifest)
	if _, err := w.s.rows.Put(w.ctx, key, &metaapi.Value{Head: c.Append(nil)}); err != nil {
		return w.failure(err)
	}
	w.kept, w.claimed = now, true
	return nil
}

// release ends the stream once its fate is decided: written says that the
// row that refers to its blocks is.
func (w *stream) release(written bool) {
	w.cancel(context.Canceled)
	w.flying.Wait()
	if w.claimed {
		ctx, done := cleanupContext(w.ctx)
		defer done()
		key := record.ClaimKey(w.owner.Bucket, w.owner.Key, w.owner.Manifest)
		if _, err := w.s.rows.Put(ctx, key, nil); err != nil {
			w.s.log.WarnContext(ctx, "claim of a stream not removed; it will expire", "error", err)
		}
	}
	if !written {
		w.s.hint(hint{
			Released: blockapi.Released{
				Bucket: w.owner.Bucket, Key: w.owner.Key,
				Version: w.owner.Version, Manifest: w.owner.Manifest,
			},
			manifests: w.pages > 0 || w.owner.Part != 0,
		})
	}
}
