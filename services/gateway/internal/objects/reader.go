package objects

import (
	"bytes"
	"context"
	"io"
	"sync"

	"hangar/shared/fault"
	"hangar/shared/object"
	"hangar/shared/record"
)

// content is what an object's bytes are made of: data itself, or manifests
// one after the other.
type content struct {
	at        Location
	data      []byte // of an inline object
	manifests []record.Manifest
	// hashes of the only manifest, where the object's row lists them.
	hashes record.Hashes
}

func contentOf(at Location, b record.ObjectBody) content {
	c := content{at: at}
	switch b.Kind {
	case record.Inline:
		c.data = b.Data
	case record.Listed, record.Paged:
		c.manifests, c.hashes = []record.Manifest{b.Manifest}, b.Hashes
	case record.InParts:
		c.manifests = make([]record.Manifest, len(b.Parts))
		for i, p := range b.Parts {
			c.manifests[i] = p.Manifest
		}
	}
	return c
}

// open returns a reader of length bytes from offset; both lie within the
// content. The first block is there when it returns, so that one that is gone
// is an error in time to be told.
func (s *Service) open(ctx context.Context, c content, offset, length int64) (io.ReadCloser, error) {
	if c.manifests == nil || length == 0 {
		var data []byte
		if length > 0 {
			data = c.data[offset : offset+length]
		}
		return inlineReader{bytes.NewReader(data)}, nil
	}
	for len(c.manifests) > 0 && offset >= c.manifests[0].Size {
		offset -= c.manifests[0].Size
		c.manifests = c.manifests[1:]
	}
	ctx, cancel := context.WithCancel(ctx)
	r := &reader{s: s, ctx: ctx, cancel: cancel, content: c, skip: offset, unasked: length}
	if err := r.advance(); err != nil {
		return nil, err // advance gave everything back
	}
	return r, nil
}

// inlineReader reads content that is in memory.
type inlineReader struct{ *bytes.Reader }

func (inlineReader) Close() error { return nil }

// reader yields a piece of an object's content in order, a few blocks ahead.
// Read, WriteTo and Close belong to one goroutine at a time.
type reader struct {
	s       *Service
	ctx     context.Context
	cancel  context.CancelFunc
	content          // what is not yet asked for, beginning at
	skip    int64    // this offset in manifests[0]
	unasked int64    // bytes
	list    listing  // the page of hashes in use
	ahead   *listing // the page after it, being read
	window  []*fetch // blocks asked for, in order
	current *fetch   // the block being handed out
	rest    []byte   // what is left of it
	err     error    // final
}

// listing is a page of a manifest, possibly still being read.
type listing struct {
	manifest object.ManifestID
	number   int
	page     record.Page
	err      error
	ready    sync.WaitGroup
}

// fetch is a block, or the piece of it that is wanted, possibly on its way.
type fetch struct {
	hash    object.Hash
	plain   []byte
	lo, hi  int64 // the wanted piece
	size    int64 // of the whole block
	err     error
	inline  bool // plain is no block: no token was taken for it
	arrived sync.WaitGroup
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		if err := r.advance(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// WriteTo implements io.WriterTo: no copy is made on the way.
func (r *reader) WriteTo(w io.Writer) (total int64, err error) {
	for {
		if len(r.rest) > 0 {
			n, err := w.Write(r.rest)
			total += int64(n)
			r.rest = r.rest[n:]
			if err != nil {
				return total, err
			}
		}
		if err := r.advance(); err == io.EOF { //nolint:errorlint // ours, never wrapped
			return total, nil
		} else if err != nil {
			return total, err
		}
	}
}

// Close stops what is on its way and gives the memory back.
func (r *reader) Close() error {
	_ = r.finish(io.ErrClosedPipe) // what later reads get, not an error of Close
	return nil
}

// finish stops what is on its way, gives the memory back and ends the reader
// with err, unless it ended before; it returns how it ended.
func (r *reader) finish(err error) error {
	r.cancel()
	if r.err == nil {
		r.err = err
	}
	r.rest = nil
	r.drop(r.current)
	r.current = nil
	for _, f := range r.window {
		f.arrived.Wait()
		r.drop(f)
	}
	r.window = nil
	if r.ahead != nil {
		r.ahead.ready.Wait()
	}
	return r.err
}

// drop gives back a block that arrived.
func (r *reader) drop(f *fetch) {
	if f == nil || f.inline {
		return
	}
	if f.plain != nil {
		r.s.blocks.Recycle(f.plain)
	}
	r.s.reads.release()
}

// advance makes rest the next piece of content; io.EOF when there is none.
func (r *reader) advance() error {
	if r.err != nil {
		return r.err
	}
	r.drop(r.current)
	r.current = nil
	for len(r.window) < r.s.cfg.ReadWindow && r.unasked > 0 {
		more, err := r.ask()
		if err != nil {
			return r.finish(err)
		}
		if !more {
			break
		}
	}
	if len(r.window) == 0 {
		return r.finish(io.EOF)
	}
	f := r.window[0]
	r.window = r.window[1:]
	f.arrived.Wait()
	r.current = f
	if f.err == nil && int64(len(f.plain)) != f.size {
		f.err = fault.New(fault.Corrupt, "block %s has %d bytes, its list says %d", f.hash, len(f.plain), f.size)
	}
	if f.err != nil {
		return r.finish(f.err)
	}
	r.rest = f.plain[f.lo:f.hi]
	return nil
}

// ask sends for the next block. With others on their way it does so only if
// memory is to be had at once, and says whether it did.
func (r *reader) ask() (bool, error) {
	for r.manifests[0].Size == 0 {
		r.manifests = r.manifests[1:]
	}
	m := r.manifests[0]
	block := r.skip / m.BlockBytes
	list, err := r.listing(m, int(block/int64(m.PageBlocks)))
	if err != nil {
		return false, err
	}
	f := &fetch{lo: r.skip % m.BlockBytes, size: min(m.BlockBytes, m.Size-block*m.BlockBytes)}
	if list.page.Data != nil {
		f.inline, f.plain, f.lo, f.size = true, list.page.Data, r.skip, m.Size
	} else if i := int(block % int64(m.PageBlocks)); i < list.page.Hashes.Len() {
		f.hash = list.page.Hashes.At(i)
	} else {
		return false, fault.New(fault.Corrupt, "manifest %s lacks block %d", m.ID, block)
	}
	if !f.inline && len(r.window) > 0 {
		if !r.s.reads.try() {
			return false, nil
		}
	} else if !f.inline {
		if err := r.s.reads.acquire(r.ctx); err != nil {
			return false, err
		}
	}
	n := min(f.size-f.lo, r.unasked)
	f.hi = f.lo + n
	r.unasked -= n
	if r.skip += n; r.skip == m.Size {
		r.manifests, r.skip = r.manifests[1:], 0
	}
	r.send(f)
	return true, nil
}

// send fetches a block: right here if it is the only one, else beside.
func (r *reader) send(f *fetch) {
	alone := len(r.window) == 0 && r.unasked == 0
	r.window = append(r.window, f)
	switch {
	case f.inline:
	case alone:
		f.plain, f.err = r.s.blocks.Get(r.ctx, f.hash)
	default:
		f.arrived.Go(func() { f.plain, f.err = r.s.blocks.Get(r.ctx, f.hash) })
	}
}

// listing returns a page of a manifest, and begins to read the one after it.
func (r *reader) listing(m record.Manifest, number int) (*listing, error) {
	if r.hashes != nil {
		r.list.page.Hashes = r.hashes
		return &r.list, nil
	}
	if r.list.manifest == m.ID && r.list.number == number {
		return &r.list, nil
	}
	next := r.ahead
	if next == nil || next.manifest != m.ID || next.number != number {
		next = &listing{manifest: m.ID, number: number}
		r.load(next)
	}
	next.ready.Wait()
	r.ahead = nil
	if next.err != nil {
		return nil, next.err
	}
	r.list.manifest, r.list.number, r.list.page = next.manifest, next.number, next.page
	r.readAhead(m, number)
	return &r.list, nil
}

// readAhead begins to read the page after page number of m, if one is needed.
func (r *reader) readAhead(m record.Manifest, number int) {
	end := min(m.Size, int64(number+1)*int64(m.PageBlocks)*m.BlockBytes)
	if r.unasked <= end-r.skip {
		return
	}
	next := &listing{manifest: m.ID, number: number + 1}
	if end == m.Size {
		rest := r.manifests[1:]
		for len(rest) > 0 && rest[0].Size == 0 {
			rest = rest[1:]
		}
		if len(rest) == 0 {
			return
		}
		next.manifest, next.number = rest[0].ID, 0
	}
	r.ahead = next
	next.ready.Go(func() { r.load(next) })
}

func (r *reader) load(l *listing) { l.page, l.err = r.s.page(r.ctx, r.at, l.manifest, l.number) }

// page reads a page of a manifest.
func (s *Service) page(ctx context.Context, at Location, id object.ManifestID, number int) (record.Page, error) {
	row, err := s.rows.Get(ctx, record.ManifestKey(at.Bucket, id, number))
	if err != nil {
		return record.Page{}, err
	}
	if row.Value == nil {
		return record.Page{}, fault.New(fault.NotFound, "no page %d of manifest %s", number, id)
	}
	return record.DecodePage(row.Value.Body)
}
