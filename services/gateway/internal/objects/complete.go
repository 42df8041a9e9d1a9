package objects

import (
	"bytes"
	"context"
	"crypto/md5"
	"errors"
	"slices"

	"hangar/services/gateway/internal/checksum"
	"hangar/shared/blockapi"
	"hangar/shared/fault"
	"hangar/shared/object"
	"hangar/shared/record"
)

// hold takes an upload for the caller: see record.Uploads.
func (s *Service) hold(ctx context.Context, at Location, id object.VersionID) (record.HeldUpload, error) {
	if err := checkKey(at.Key); err != nil {
		return record.HeldUpload{}, err
	}
	held, err := s.uploads.Hold(ctx, at.Bucket, at.Key, id)
	if fault.Is(err, fault.NotFound) {
		err = noSuchUpload(id)
	}
	return held, err
}

// giveUp lets others end the upload.
func (s *Service) giveUp(ctx context.Context, held record.HeldUpload) {
	ctx, done := cleanupContext(ctx)
	defer done()
	s.logCleanup(ctx, "an upload stays held until its time is up", s.uploads.GiveUp(ctx, held))
}

// removeUpload removes the rows of a held upload.
func (s *Service) removeUpload(ctx context.Context, held record.HeldUpload) error {
	ctx, done := cleanupContext(ctx)
	defer done()
	return s.uploads.Remove(ctx, held)
}

// CompleteUpload implements Store.
//
// Write order: the upload is held, the object's row is written, then part rows
// and the upload's row go. After a crash in between the object is there or
// not, and whoever repeats the request finds out and finishes the work.
func (s *Service) CompleteUpload(ctx context.Context, in CompleteInput) (Info, error) {
	ctx, done := context.WithTimeout(ctx, record.EndTime)
	defer done()
	held, err := s.hold(ctx, in.Location, in.Upload)
	if errors.Is(err, ErrNoSuchUpload) {
		return s.completedBefore(ctx, in)
	}
	if err != nil {
		return Info{}, err
	}
	info, unused, err := s.complete(ctx, in, held)
	if err != nil {
		s.giveUp(ctx, held)
		return Info{}, err
	}
	if err := s.removeUpload(ctx, held); err != nil {
		s.logCleanup(ctx, "rows of a completed upload not removed", err)
	}
	for _, manifest := range unused {
		s.hint(hint{Released: blockapi.Released{
			Bucket: in.Bucket, Key: in.Key, Version: in.Upload, Manifest: manifest,
		}, manifests: true})
	}
	return info, nil
}

// completedBefore answers a repeated completion of an upload that is gone.
func (s *Service) completedBefore(ctx context.Context, in CompleteInput) (Info, error) {
	f, err := s.find(ctx, in.Location)
	if errors.Is(err, ErrNoSuchKey) || err == nil && !completedAs(f, in) {
		return Info{}, noSuchUpload(in.Upload)
	}
	if err != nil {
		return Info{}, err
	}
	return fullInfo(in.Location, f.head, f.body), nil
}

// completedAs reports whether the object is what in asks for.
func completedAs(f found, in CompleteInput) bool {
	return f.head.Version == in.Upload && slices.EqualFunc(f.body.Parts, in.Parts,
		func(have record.PartRef, want CompletePart) bool {
			return have.Number == want.Number && etag(have.MD5, 0) == bareETag(want.ETag)
		})
}

// complete writes the object's row. It returns the manifests of parts that the
// client did not name.
func (s *Service) complete(ctx context.Context, in CompleteInput, held record.HeldUpload) (Info, []object.ManifestID, error) {
	f, err := s.find(ctx, in.Location)
	if err == nil && completedAs(f, in) {
		return fullInfo(in.Location, f.head, f.body), nil, nil
	}
	if err != nil && !errors.Is(err, ErrNoSuchKey) {
		return Info{}, nil, err
	}
	parts, unused, err := s.pickParts(ctx, in, held)
	if err != nil {
		return Info{}, nil, err
	}
	head, body, err := s.assemble(in, held, parts)
	if err != nil {
		return Info{}, nil, err
	}
	row := body.Append(nil, head.Checksum)
	// The parts have been counted, and go.
	if err := s.writeObject(ctx, in.Location, head, row, 0, in.If); err != nil {
		return Info{}, nil, err
	}
	return fullInfo(in.Location, head, body), unused, nil
}

// pickedPart is a part that goes into the object.
type pickedPart struct {
	number int
	record.PartHead
}

// pickParts reads the parts that the client named and checks them one by one.
func (s *Service) pickParts(ctx context.Context, in CompleteInput, held record.HeldUpload) (picked []pickedPart, unused []object.ManifestID, err error) {
	if len(in.Parts) == 0 || len(in.Parts) > MaxParts {
		return nil, nil, invalid("an object is made of 1 to %d parts", MaxParts)
	}
	for i, p := range in.Parts {
		if i > 0 && p.Number <= in.Parts[i-1].Number {
			return nil, nil, named(fault.Invalid, ErrInvalidPartOrder, "part %d after part %d", p.Number, in.Parts[i-1].Number)
		}
	}
	picked = make([]pickedPart, 0, len(in.Parts))
	for number, part := range s.uploads.Parts(ctx, held.Bucket, held.Key, held.ID, 0, MaxListed, &err) {
		want := len(picked)
		if want == len(in.Parts) || in.Parts[want].Number > number {
			unused = append(unused, part.Manifest.ID)
			continue
		}
		if in.Parts[want].Number < number {
			break // it is missing
		}
		part.Digest = slices.Clone(part.Digest)
		if err := matchPart(in.Parts[want], part); err != nil {
			return nil, nil, err
		}
		picked = append(picked, pickedPart{number, part})
	}
	if err != nil {
		return nil, nil, err
	}
	if n := len(picked); n < len(in.Parts) {
		return nil, nil, named(fault.Invalid, ErrInvalidPart, "part %d was not uploaded", in.Parts[n].Number)
	}
	for _, p := range picked[:len(picked)-1] {
		if p.Manifest.Size < s.cfg.MinPartBytes {
			return nil, nil, named(fault.Invalid, ErrEntityTooSmall,
				"part %d has %d bytes, the least is %d", p.number, p.Manifest.Size, s.cfg.MinPartBytes)
		}
	}
	return picked, unused, nil
}

func matchPart(want CompletePart, have record.PartHead) error {
	if bareETag(want.ETag) != etag(have.MD5, 0) {
		return named(fault.Invalid, ErrInvalidPart, "part %d has another ETag", want.Number)
	}
	if want.Checksum != nil && !bytes.Equal(want.Checksum, have.Digest) {
		return named(fault.Invalid, ErrInvalidPart, "part %d has another checksum", want.Number)
	}
	return nil
}

// assemble makes the object out of its parts.
func (s *Service) assemble(in CompleteInput, held record.HeldUpload, parts []pickedPart) (record.ObjectHead, record.ObjectBody, error) {
	head := record.ObjectHead{
		Version: in.Upload, Modified: s.now(), Parts: len(parts), Checksum: held.Head.Checksum,
		StorageClass: held.Metadata.StorageClass, Manifests: true,
	}
	body := record.ObjectBody{Metadata: held.Metadata, Kind: record.InParts}
	body.Parts = make([]record.PartRef, len(parts))
	md5s := md5.New()
	for i, p := range parts {
		head.Size += p.Manifest.Size
		head.Blocks = head.Blocks || p.Blocks
		md5s.Write(p.MD5[:])
		body.Parts[i] = record.PartRef{Number: p.number, MD5: p.MD5, Manifest: p.Manifest}
		if head.Checksum != record.NoChecksum {
			body.Parts[i].Checksum = p.Digest
		}
	}
	md5s.Sum(head.MD5[:0])
	if head.Size > MaxObjectBytes {
		return head, body, named(fault.Invalid, ErrEntityTooLarge, "%d bytes in all", head.Size)
	}
	if in.Size >= 0 && in.Size != head.Size {
		return head, body, invalid("the parts have %d bytes together, not %d", head.Size, in.Size)
	}
	sum, err := wholeChecksum(held.Head, in.Checksum, parts)
	if err != nil {
		return head, body, err
	}
	body.Checksum, head.Composite = sum, head.Checksum != record.NoChecksum && !held.Head.FullObject
	return head, body, nil
}

// wholeChecksum computes the checksum that the upload was created with; nil if
// without one. It is an error if the client states another value.
func wholeChecksum(upload record.UploadHead, stated Checksum, parts []pickedPart) ([]byte, error) {
	algorithm := algorithms[upload.Checksum]
	full := upload.FullObject
	if algorithm == "" {
		// Nothing is kept, but what the client states is still checked.
		if stated.Algorithm == "" {
			return nil, nil
		}
		algorithm, full = stated.Algorithm, !stated.Composite
	}
	if stated.Algorithm != "" && stated.Algorithm != algorithm {
		return nil, invalid("the upload is with %s checksums, not %s", algorithm, stated.Algorithm)
	}
	of := make([]checksum.Part, len(parts))
	for i, p := range parts {
		if algorithms[p.Checksum] != algorithm {
			return nil, invalid("part %d has no %s checksum", p.number, algorithm)
		}
		of[i] = checksum.Part{Size: p.Manifest.Size, Value: p.Digest}
	}
	compute := checksum.Composite
	if full {
		compute = checksum.Combine
	}
	sum, err := compute(checksum.Algorithm(algorithm), of)
	if err != nil {
		return nil, fault.Wrap(fault.Invalid, err, "checksum of the whole")
	}
	if stated.Algorithm != "" && !bytes.Equal(stated.Value, sum) {
		return nil, named(fault.Invalid, ErrBadDigest, "%s of the whole", algorithm)
	}
	if upload.Checksum == record.NoChecksum {
		return nil, nil
	}
	return sum, nil
}
