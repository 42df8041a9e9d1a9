package objects

import (
	"context"
	"io"
	"strings"
	"time"

	"hangar/shared/fault"
	"hangar/shared/metaapi"
	"hangar/shared/record"
)

// found is an object's row, decoded.
type found struct {
	row  metaapi.Row
	head record.ObjectHead
	body record.ObjectBody
}

// find reads an object's row.
func (s *Service) find(ctx context.Context, at Location) (found, error) {
	if err := checkKey(at.Key); err != nil {
		return found{}, err
	}
	row, err := s.rows.Get(ctx, record.ObjectKey(at.Bucket, at.Key))
	if err != nil {
		return found{}, err
	}
	return decodeObject(at, row)
}

func decodeObject(at Location, row metaapi.Row) (f found, err error) {
	if row.Value == nil {
		return found{}, noSuchKey(at.Key)
	}
	f.row = row
	if f.head, err = record.DecodeObjectHead(row.Value.Head); err == nil {
		f.body, err = record.DecodeObjectBody(f.head, row.Value.Body)
	}
	return f, err
}

// Head implements Store.
func (s *Service) Head(ctx context.Context, at Location) (Info, error) {
	f, err := s.find(ctx, at)
	if err != nil {
		return Info{}, err
	}
	return fullInfo(at, f.head, f.body), nil
}

// Get implements Store. With ErrNotModified or a failed condition the Info is
// filled in all the same: the answer names the ETag.
func (s *Service) Get(ctx context.Context, in GetInput) (Info, io.ReadCloser, error) {
	return s.get(ctx, in.Location, !in.HeadOnly, func(info *Info, body record.ObjectBody) error {
		if err := in.If.check(*info); err != nil {
			return err
		}
		return locate(info, body, in.Range, in.PartNumber)
	})
}

// get reads an object's row, lets choose judge it and choose the bytes wanted,
// and opens those if content is set.
func (s *Service) get(ctx context.Context, at Location, content bool, choose func(*Info, record.ObjectBody) error) (Info, io.ReadCloser, error) {
	// An object that is replaced between the reading of its row and of its
	// first block may be gone already: then the new one is read.
	const attempts = 3
	for attempt := 1; ; attempt++ {
		f, err := s.find(ctx, at)
		if err != nil {
			return Info{}, nil, err
		}
		info := fullInfo(at, f.head, f.body)
		if err := choose(&info, f.body); err != nil || !content {
			return info, nil, err
		}
		r, err := s.open(ctx, contentOf(at, f.body), info.Offset, info.Length)
		if err == nil {
			return info, r, nil
		}
		if !fault.Is(err, fault.NotFound) {
			return Info{}, nil, err
		}
		again, rowErr := s.rows.Get(ctx, record.ObjectKey(at.Bucket, at.Key))
		if rowErr != nil {
			return Info{}, nil, rowErr
		}
		if again.Tag == f.row.Tag || attempt == attempts {
			return Info{}, nil, fault.Wrap(fault.Corrupt, err, "content of %q is missing", at.Key)
		}
	}
}

// locate works out which bytes a range or part number asks for.
func locate(info *Info, body record.ObjectBody, rng *Range, part int) error {
	if part != 0 {
		return locatePart(info, body, part)
	}
	if rng == nil {
		return nil
	}
	first, last := rng.First, rng.Last
	switch {
	case first < 0: // the last bytes
		first, last = max(0, info.Size-last), info.Size-1
		if rng.Last <= 0 {
			first = info.Size
		}
	case last < 0 || last >= info.Size:
		last = info.Size - 1
	}
	if first >= info.Size || first > last {
		return named(fault.Invalid, ErrInvalidRange, "%d bytes", info.Size)
	}
	info.Offset, info.Length = first, last-first+1
	return nil
}

func locatePart(info *Info, body record.ObjectBody, number int) error {
	if body.Kind != record.InParts {
		if number != 1 {
			return named(fault.Invalid, ErrInvalidPartNum, "the object was not uploaded in parts")
		}
		info.Part = &PartInfo{
			Number: 1, Size: info.Size, ETag: info.ETag, Modified: info.Modified, Checksum: info.Checksum,
		}
		return nil
	}
	offset := int64(0)
	for _, p := range body.Parts {
		if p.Number == number {
			info.Offset, info.Length = offset, p.Manifest.Size
			info.Part = &PartInfo{
				Number: number, Size: p.Manifest.Size, ETag: etag(p.MD5, 0), Modified: info.Modified,
				Checksum: Checksum{Algorithm: info.Checksum.Algorithm, Value: p.Checksum},
			}
			return nil
		}
		offset += p.Manifest.Size
	}
	return named(fault.Invalid, ErrInvalidPartNum, "no part %d", number)
}

// check evaluates the conditions of a read in the order of RFC 9110, section
// 13.2.2. Times are compared in whole seconds, as headers carry them.
func (c ReadConditions) check(info Info) error {
	modified := info.Modified.Truncate(time.Second)
	switch {
	case c.IfMatch != "":
		if !matches(c.IfMatch, info.ETag, false) {
			return fault.New(fault.Precondition, "the object has another ETag")
		}
	case !c.IfUnmodifiedSince.IsZero() && modified.After(c.IfUnmodifiedSince):
		return fault.New(fault.Precondition, "the object was modified since")
	}
	switch {
	case c.IfNoneMatch != "":
		if matches(c.IfNoneMatch, info.ETag, true) {
			return named(fault.Precondition, ErrNotModified, "the object has that ETag")
		}
	case !c.IfModifiedSince.IsZero() && !modified.After(c.IfModifiedSince):
		return named(fault.Precondition, ErrNotModified, "the object was not modified since")
	}
	return nil
}

// checkSource is check for the source of a copy, where no condition means
// "not modified".
func (c ReadConditions) checkSource(info Info) error {
	if err := c.check(info); err != nil {
		return fault.New(fault.Precondition, "a condition on the copy's source is false")
	}
	return nil
}

// matches reports whether a header's list of ETags (or *) has tag. ETags
// without quotes are taken, because clients send them. A weak one matches only
// in a weak comparison.
func matches(list, tag string, weak bool) bool {
	for item := range strings.SplitSeq(list, ",") {
		item = strings.TrimSpace(item)
		if rest, isWeak := strings.CutPrefix(item, "W/"); isWeak {
			if !weak {
				continue
			}
			item = rest
		}
		if item == "*" || bareETag(item) == tag {
			return true
		}
	}
	return false
}
