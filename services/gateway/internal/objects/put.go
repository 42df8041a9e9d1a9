package objects

import (
	"context"

	"hangar/shared/fault"
	"hangar/shared/metaapi"
	"hangar/shared/object"
	"hangar/shared/record"
)

// Put implements Store. Write order: blocks, then manifest rows, then the
// object's row, each durable before the next; so after a crash the object is
// the old one or the new one, and what was written for nothing is collected.
func (s *Service) Put(ctx context.Context, in PutInput) (Info, error) {
	if err := checkNew(in.Key, in.Metadata); err != nil {
		return Info{}, err
	}
	if size := in.Body.Size(); size >= 0 && size <= s.cfg.InlineBytes {
		return s.putSized(ctx, in, int(size))
	}
	if err := s.foresee(ctx, record.ObjectKey(in.Bucket, in.Key), in.Body.Size()); err != nil {
		return Info{}, err
	}
	first, err := s.buffers.get(ctx)
	if err != nil {
		return Info{}, err
	}
	n, ended, err := fill(in.Body, first.data)
	if err != nil {
		s.buffers.put(first)
		return Info{}, err
	}
	if ended && int64(n) <= s.cfg.InlineBytes {
		defer s.buffers.put(first)
		row, room := record.NewInline(record.Metadata(in.Metadata), n)
		copy(room, first.data)
		return s.putInline(ctx, in, row, n)
	}
	return s.putBlocks(ctx, in, first, n, ended)
}

// putSized stores a small object whose size is known: it is read right into
// the row that will be written.
func (s *Service) putSized(ctx context.Context, in PutInput, size int) (Info, error) {
	row, room := record.NewInline(record.Metadata(in.Metadata), size)
	n, ended, err := fill(in.Body, room)
	if err == nil && !ended {
		// The body has yet to say that it is whole.
		var extra [1]byte
		var more int
		more, _, err = fill(in.Body, extra[:])
		n += more
	}
	if err != nil {
		return Info{}, err
	}
	return s.putInline(ctx, in, row, n)
}

// checkSize holds a body to the size it announced.
func checkSize(b Body, size int64) error {
	if want := b.Size(); want >= 0 && want != size {
		return invalid("the content is not of the %d bytes announced", want)
	}
	return nil
}

func (s *Service) putInline(ctx context.Context, in PutInput, row []byte, size int) (Info, error) {
	if err := checkSize(in.Body, int64(size)); err != nil {
		return Info{}, err
	}
	head, sum, err := s.newHead(in, object.NewVersionID(), int64(size))
	if err != nil {
		return Info{}, err
	}
	row = record.FinishInline(row, head.Checksum, sum.Value)
	if err := s.writeObject(ctx, in.Location, head, row, head.Size, in.If); err != nil {
		return Info{}, err
	}
	return putInfo(in, head, sum), nil
}

func (s *Service) putBlocks(ctx context.Context, in PutInput, first *buffer, n int, ended bool) (_ Info, err error) {
	w := s.newStream(ctx, in.Location, object.NewVersionID(), 0)
	defer func() { w.release(err == nil) }()
	if err := w.writeAll(in.Body, first, n, ended, MaxObjectBytes); err != nil {
		return Info{}, err
	}
	if err := checkSize(in.Body, w.size); err != nil {
		return Info{}, err
	}
	manifest, hashes, err := w.finish(false)
	if err != nil {
		return Info{}, err
	}
	head, sum, err := s.newHead(in, w.owner.Version, w.size)
	if err != nil {
		return Info{}, err
	}
	head.Blocks = true
	body := record.ObjectBody{Metadata: record.Metadata(in.Metadata), Checksum: sum.Value, Manifest: manifest}
	if hashes != nil {
		body.Kind, body.Hashes = record.Listed, hashes
	} else {
		body.Kind, head.Manifests = record.Paged, true
	}
	row := body.Append(nil, head.Checksum)
	if err := s.writeObject(ctx, in.Location, head, row, head.Size, in.If); err != nil {
		return Info{}, err
	}
	return putInfo(in, head, sum), nil
}

// newHead makes the head of an object whose body was read to its end.
func (s *Service) newHead(in PutInput, v object.VersionID, size int64) (record.ObjectHead, Checksum, error) {
	sum := in.Body.Checksum()
	algorithm, err := storedChecksum(sum)
	return record.ObjectHead{
		Version:      v,
		Size:         size,
		Modified:     s.now(),
		MD5:          in.Body.MD5(),
		Checksum:     algorithm,
		StorageClass: in.Metadata.StorageClass,
	}, sum, err
}

func putInfo(in PutInput, h record.ObjectHead, sum Checksum) Info {
	info := headInfo(in.Location, h)
	info.Metadata = in.Metadata
	info.Checksum.Value = sum.Value
	return info
}

// writeObject makes an object visible, if cond holds and the bucket's quota has
// room for one more object and that many more bytes, less what it replaces.
func (s *Service) writeObject(ctx context.Context, at Location, head record.ObjectHead, body []byte, adds int64, cond WriteConditions) error {
	value := objectValue(head, body)
	key := record.ObjectKey(at.Bucket, at.Key)
	done, err := s.reserve(ctx, key, adds)
	if err != nil {
		return err
	}
	defer done()
	leave, err := s.admit(at.Bucket)
	if err != nil {
		return err
	}
	defer leave()
	var written metaapi.Written
	if cond.IsZero() {
		written, err = s.rows.Put(ctx, key, value)
	} else {
		written, err = s.rows.Update(ctx, key, func(current metaapi.Row) (*metaapi.Value, error) {
			return value, cond.check(at.Key, current)
		})
	}
	if err != nil {
		return err
	}
	s.replaced(at, head.Version, written.Replaced)
	return nil
}

func objectValue(head record.ObjectHead, body []byte) *metaapi.Value {
	const roughHead = 64
	return &metaapi.Value{
		Head: head.Append(make([]byte, 0, roughHead)), Body: body,
		Count: 1, Bytes: head.Size,
	}
}

// check decides whether a write may go ahead over the committed row.
func (c WriteConditions) check(key string, current metaapi.Row) error {
	if c.IfNoneMatchAny && current.Value != nil {
		return fault.New(fault.Precondition, "the object exists")
	}
	if c.IfMatch == "" {
		return nil
	}
	if current.Value == nil {
		return noSuchKey(key)
	}
	head, err := record.DecodeObjectHead(current.Value.Head)
	if err != nil {
		return err
	}
	if want := bareETag(c.IfMatch); want != "*" && want != etag(head.MD5, head.Parts) {
		return fault.New(fault.Precondition, "the object has another ETag")
	}
	return nil
}

// Delete implements Store.
func (s *Service) Delete(ctx context.Context, at Location, cond WriteConditions) error {
	if err := checkKey(at.Key); err != nil {
		return err
	}
	key := record.ObjectKey(at.Bucket, at.Key)
	var written metaapi.Written
	var err error
	if cond.IsZero() {
		written, err = s.rows.Put(ctx, key, nil)
	} else {
		written, err = s.rows.Update(ctx, key, func(current metaapi.Row) (*metaapi.Value, error) {
			return nil, cond.check(at.Key, current)
		})
	}
	if err != nil {
		return err
	}
	s.replaced(at, object.VersionID{}, written.Replaced)
	return nil
}
