package objects

import (
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sync/errgroup"

	"hangar/shared/blockapi"
	"hangar/shared/fault"
	"hangar/shared/metaapi"
	"hangar/shared/object"
	"hangar/shared/record"
)

// copyAttempts is how often a copy begins anew because its source changed.
const copyAttempts = 3

// What makes a copy begin anew.
var (
	errSourceChanged = errors.New("the source changed during the copy")
	// errContentGone: content is gone that was the source's when its row was read.
	errContentGone = errors.New("content is gone")
)

// contentGone marks an error that says that content is gone.
func contentGone(err error) error {
	if fault.Is(err, fault.NotFound) {
		return fmt.Errorf("%w: %w", errContentGone, err)
	}
	return err
}

// Copy implements Store. The copy keeps the source's ETag, parts and checksum:
// its content is the same bytes in the same blocks. (S3 gives a copy of an
// upload in parts the ETag of one piece; clients treat an ETag with a dash as
// opaque, so nothing is gained by reading everything again.)
func (s *Service) Copy(ctx context.Context, in CopyInput) (Info, error) {
	metadata := Metadata{}
	if in.Metadata != nil {
		metadata = *in.Metadata
	}
	if err := checkNew(in.Target.Key, metadata); err != nil {
		return Info{}, err
	}
	var last error
	for range copyAttempts {
		f, err := s.find(ctx, in.Source)
		if err != nil {
			return Info{}, err
		}
		info := fullInfo(in.Source, f.head, f.body)
		if err := in.SourceIf.checkSource(info); err != nil {
			return Info{}, err
		}
		if info.Size > MaxPartBytes {
			return Info{}, named(fault.Invalid, ErrEntityTooLarge, "a copy in one piece has at most %d bytes", int64(MaxPartBytes))
		}
		resum := in.Checksum != "" && in.Checksum != info.Checksum.Algorithm
		self := in.Source == in.Target
		if self && in.Metadata == nil && !resum {
			return Info{}, named(fault.Invalid, ErrCopySelf, "%q", in.Target.Key)
		}
		if in.Metadata != nil {
			f.body.Metadata = record.Metadata(metadata)
			f.head.StorageClass = metadata.StorageClass
		}
		if resum {
			err = s.resum(ctx, in.Source, &f, in.Checksum)
		}
		if err == nil && self {
			info, err = s.rewrite(ctx, in, f)
		} else if err == nil {
			info, err = s.share(ctx, in, f)
		}
		if errors.Is(err, errSourceChanged) || errors.Is(err, errContentGone) {
			last = err
			continue
		}
		return info, err
	}
	if errors.Is(last, errSourceChanged) {
		return Info{}, fault.Wrap(fault.Conflict, last, "%q", in.Source.Key)
	}
	return Info{}, fault.Wrap(fault.Corrupt, last, "content of %q is missing", in.Source.Key)
}

// resum gives the copy a checksum of another algorithm, of the full object.
func (s *Service) resum(ctx context.Context, at Location, f *found, a ChecksumAlgorithm) error {
	algorithm, err := a.stored()
	if err != nil {
		return err
	}
	r, err := s.open(ctx, contentOf(at, f.body), 0, f.head.Size)
	if err != nil {
		return contentGone(err)
	}
	defer r.Close()
	h := newHashed(r, f.head.Size, a)
	if _, err := io.Copy(io.Discard, h); err != nil {
		return contentGone(err)
	}
	f.head.Checksum, f.head.Composite = algorithm, false
	f.body.Checksum = h.Checksum().Value
	for i := range f.body.Parts {
		f.body.Parts[i].Checksum = nil // they are of the old algorithm
	}
	return nil
}

// rewrite copies an object onto itself: content and version stay, so nothing
// but its row is written, if it is still the row that was read.
func (s *Service) rewrite(ctx context.Context, in CopyInput, f found) (Info, error) {
	f.head.Modified = s.now()
	value := objectValue(f.head, f.body.Append(nil, f.head.Checksum))
	key := record.ObjectKey(in.Target.Bucket, in.Target.Key)
	_, err := s.rows.Update(ctx, key, func(current metaapi.Row) (*metaapi.Value, error) {
		if err := in.If.check(in.Target.Key, current); err != nil {
			return nil, err
		}
		now, err := decodeObject(in.Target, current)
		if err == nil && now.head.Version != f.head.Version {
			err = errSourceChanged
		}
		return value, err
	})
	return fullInfo(in.Target, f.head, f.body), err
}

// shareTime bounds how long a copy may take to refer to its blocks. Nothing
// else keeps them meanwhile.
const shareTime = blockapi.MaxUnclaimed

// share writes a new object of the source's content. Write order: references
// to the blocks, manifest rows, the object's row.
func (s *Service) share(ctx context.Context, in CopyInput, f found) (_ Info, err error) {
	if err := s.foresee(ctx, record.ObjectKey(in.Target.Bucket, in.Target.Key), f.head.Size); err != nil {
		return Info{}, err
	}
	ctx, done := context.WithTimeout(ctx, shareTime)
	defer done()
	c := sharing{s: s, from: in.Source, to: in.Target, version: object.NewVersionID()}
	defer func() {
		if err != nil && (f.head.Blocks || f.head.Manifests) {
			s.hint(hint{Released: blockapi.Released{
				Bucket: in.Target.Bucket, Key: in.Target.Key, Version: c.version,
			}, manifests: f.head.Manifests})
		}
	}()
	switch f.body.Kind {
	case record.Listed:
		owner := c.owner(0)
		f.body.Manifest.ID = owner.Manifest
		err = c.reference(ctx, owner, f.body.Hashes)
	case record.Paged:
		err = c.manifest(ctx, &f.body.Manifest, 0)
	case record.InParts:
		const beside = 4
		parts := f.body.Parts
		err = eachOf(ctx, beside, len(parts), func(ctx context.Context, i int) error {
			return c.manifest(ctx, &parts[i].Manifest, parts[i].Number)
		})
	}
	if err != nil {
		return Info{}, contentGone(err)
	}
	f.head.Version, f.head.Modified = c.version, s.now()
	row := f.body.Append(nil, f.head.Checksum)
	if err := s.writeObject(ctx, in.Target, f.head, row, f.head.Size, in.If); err != nil {
		return Info{}, err
	}
	return fullInfo(in.Target, f.head, f.body), nil
}

// sharing makes a version own blocks that another one has.
type sharing struct {
	s        *Service
	from, to Location
	version  object.VersionID
}

// owner is a fresh owner of blocks.
func (c sharing) owner(part int) blockapi.Owner {
	return blockapi.Owner{
		Bucket: c.to.Bucket, Key: c.to.Key, Version: c.version,
		Manifest: record.NewManifestID(c.version, part), Part: int32(part),
	}
}

// manifest copies m, page by page, and makes it the copy.
func (c sharing) manifest(ctx context.Context, m *record.Manifest, part int) error {
	owner := c.owner(part)
	for number := range m.Pages() {
		page, err := c.s.page(ctx, c.from, m.ID, number)
		if err != nil {
			return err
		}
		if err := c.reference(ctx, owner, page.Hashes); err != nil {
			return err
		}
		if err := c.s.putPage(ctx, owner, number, page); err != nil {
			return err
		}
	}
	m.ID = owner.Manifest
	return nil
}

// reference makes owner an owner of the blocks, a bounded number at a time.
func (c sharing) reference(ctx context.Context, owner blockapi.Owner, hashes record.Hashes) error {
	const batch = 256
	list := make([]object.Hash, 0, min(batch, hashes.Len()))
	for i := range hashes.Len() {
		list = append(list, hashes.At(i))
		if len(list) == batch || i == hashes.Len()-1 {
			if err := c.s.blocks.Reference(ctx, owner, list); err != nil {
				return err
			}
			list = list[:0]
		}
	}
	return nil
}

// eachOf calls f for 0 to n-1, a few beside each other. The first error stops
// it and is returned, once all calls have ended.
func eachOf(ctx context.Context, beside, n int, f func(context.Context, int) error) error {
	g, stop := errgroup.WithContext(ctx)
	g.SetLimit(beside)
	for i := range n {
		if stop.Err() != nil {
			break
		}
		g.Go(func() error { return f(stop, i) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return ctx.Err()
}
