package objects

import (
	"context"

	"hangar/services/gateway/internal/checksum"
	"hangar/shared/blockapi"
	"hangar/shared/fault"
	"hangar/shared/metaapi"
	"hangar/shared/object"
	"hangar/shared/record"
)

// CreateUpload implements Store.
func (s *Service) CreateUpload(ctx context.Context, in CreateUploadInput) (object.VersionID, error) {
	if err := checkNew(in.Key, in.Metadata); err != nil {
		return object.VersionID{}, err
	}
	algorithm, err := in.Checksum.stored()
	if err != nil {
		return object.VersionID{}, err
	}
	if algorithm != record.NoChecksum {
		if combines := checksum.Algorithm(in.Checksum).Combines(); in.FullObject && !combines {
			return object.VersionID{}, invalid("%s cannot be had of a full object uploaded in parts", in.Checksum)
		}
		if in.Checksum == CRC64NVME && !in.FullObject {
			return object.VersionID{}, invalid("%s is of the full object only", in.Checksum)
		}
	}
	id := object.NewVersionID()
	head := record.UploadHead{
		Started: s.now(), Initiator: in.Initiator, Checksum: algorithm, FullObject: in.FullObject,
	}
	leave, err := s.admit(in.Bucket)
	if err != nil {
		return object.VersionID{}, err
	}
	defer leave()
	_, err = s.rows.Put(ctx, record.UploadKey(in.Bucket, in.Key, id), &metaapi.Value{
		Head:  head.Append(nil),
		Body:  record.AppendUploadBody(nil, record.Metadata(in.Metadata)),
		Count: 1,
	})
	return id, err
}

// upload reads the row of an unfinished upload.
func (s *Service) upload(ctx context.Context, at Location, id object.VersionID) (record.UploadHead, error) {
	if err := checkKey(at.Key); err != nil {
		return record.UploadHead{}, err
	}
	row, err := s.rows.Get(ctx, record.UploadKey(at.Bucket, at.Key, id))
	if err != nil {
		return record.UploadHead{}, err
	}
	if row.Value == nil {
		return record.UploadHead{}, noSuchUpload(id)
	}
	return record.DecodeUploadHead(row.Value.Head)
}

// requirer is a Body that can compute a checksum nobody sent.
type requirer interface {
	Require(checksum.Algorithm) error
}

// UploadPart implements Store. Write order: blocks, manifest rows, the part's
// row. A manifest is never changed: a part that is uploaded again gets another.
func (s *Service) UploadPart(ctx context.Context, in PartInput) (_ PartInfo, err error) {
	if in.Number < 1 || in.Number > MaxParts {
		return PartInfo{}, invalid("part numbers are 1 to %d", MaxParts)
	}
	upload, err := s.upload(ctx, in.Location, in.Upload)
	if err != nil {
		return PartInfo{}, err
	}
	if r, ok := in.Body.(requirer); ok && upload.Checksum != record.NoChecksum {
		if err := r.Require(checksum.Algorithm(algorithms[upload.Checksum])); err != nil {
			return PartInfo{}, err
		}
	}
	key := record.PartKey(in.Bucket, in.Key, in.Upload, in.Number)
	if err := s.foresee(ctx, key, in.Body.Size()); err != nil {
		return PartInfo{}, err
	}
	w := s.newStream(ctx, in.Location, in.Upload, in.Number)
	defer func() { w.release(err == nil) }()
	part, err := s.writePart(ctx, w, in.Body)
	if err != nil {
		return PartInfo{}, err
	}
	if upload.Checksum != record.NoChecksum && part.Checksum != upload.Checksum {
		return PartInfo{}, invalid("the upload is with %s checksums, the part is not", algorithms[upload.Checksum])
	}
	written, err := s.putPart(ctx, key, part)
	if err != nil {
		return PartInfo{}, err
	}
	s.replacedPart(in.Location, in.Upload, part.Manifest.ID, written.Replaced)
	// The upload may have ended meanwhile, without seeing this part's row.
	if _, err := s.upload(ctx, in.Location, in.Upload); err != nil {
		if fault.Is(err, fault.NotFound) {
			_, removeErr := s.rows.Put(ctx, key, nil)
			s.logCleanup(ctx, "row of a part that came too late not removed", removeErr)
		}
		return PartInfo{}, err
	}
	return partInfo(in.Number, part), nil
}

// putPart writes the row of a part. It counts like an object: what is uploaded
// takes room.
func (s *Service) putPart(ctx context.Context, key metaapi.RowKey, part record.PartHead) (metaapi.Written, error) {
	size := part.Manifest.Size
	done, err := s.reserve(ctx, key, size)
	if err != nil {
		return metaapi.Written{}, err
	}
	defer done()
	return s.rows.Put(ctx, key, &metaapi.Value{Head: part.Append(nil), Count: 1, Bytes: size})
}

// writePart stores a part's content and manifest.
func (s *Service) writePart(ctx context.Context, w *stream, body Body) (record.PartHead, error) {
	first, err := s.buffers.get(ctx)
	if err != nil {
		return record.PartHead{}, err
	}
	n, ended, err := fill(body, first.data)
	if err != nil {
		s.buffers.put(first)
		return record.PartHead{}, err
	}
	var part record.PartHead
	if ended && int64(n) <= s.cfg.InlineBytes {
		err = s.putPage(ctx, w.owner, 0, record.Page{Data: first.data[:n]})
		s.buffers.put(first)
		part.Manifest = s.manifest(w.owner.Manifest, int64(n))
	} else {
		part.Blocks = true
		if err = w.writeAll(body, first, n, ended, MaxPartBytes); err == nil {
			part.Manifest, _, err = w.finish(true)
		}
	}
	if err != nil {
		return record.PartHead{}, err
	}
	if err := checkSize(body, part.Manifest.Size); err != nil {
		return record.PartHead{}, err
	}
	sum := body.Checksum()
	part.Checksum, err = storedChecksum(sum)
	part.Digest, part.MD5, part.Modified = sum.Value, body.MD5(), s.now()
	return part, err
}

// replacedPart hints at the manifests of the part rows that were replaced.
func (s *Service) replacedPart(at Location, upload object.VersionID, now object.ManifestID, heads [][]byte) {
	for _, b := range heads {
		old, err := record.DecodePartHead(b)
		if err != nil || old.Manifest.ID == now {
			continue // a head that cannot be read is the reader's to report
		}
		s.hint(hint{
			Released: blockapi.Released{
				Bucket: at.Bucket, Key: at.Key, Version: upload, Manifest: old.Manifest.ID,
			},
			manifests: true,
		})
	}
}

// UploadPartCopy implements Store. The content is read through: a part's ETag
// is the MD5 of just this range. Its blocks are the source's all the same
// wherever both are cut at the same places.
func (s *Service) UploadPartCopy(ctx context.Context, in PartCopyInput) (PartInfo, error) {
	upload, err := s.upload(ctx, in.Location, in.Upload)
	if err != nil {
		return PartInfo{}, err
	}
	info, r, err := s.get(ctx, in.Source, true, func(info *Info, body record.ObjectBody) error {
		if err := in.SourceIf.checkSource(*info); err != nil {
			return err
		}
		if rng := in.Range; rng != nil && (rng.First < 0 || rng.Last < 0 || rng.Last >= info.Size) {
			return named(fault.Invalid, ErrInvalidRange, "the source has %d bytes", info.Size)
		}
		if err := locate(info, body, in.Range, 0); err != nil {
			return err
		}
		if info.Length > MaxPartBytes {
			return named(fault.Invalid, ErrEntityTooLarge, "a part has at most %d bytes", int64(MaxPartBytes))
		}
		return nil
	})
	if err != nil {
		return PartInfo{}, err
	}
	defer r.Close()
	return s.UploadPart(ctx, PartInput{
		Location: in.Location, Upload: in.Upload, Number: in.Number,
		Body: newHashed(r, info.Length, algorithms[upload.Checksum]),
	})
}

// AbortUpload implements Store. The upload's row goes last, so that an abort
// that was cut short can be repeated.
func (s *Service) AbortUpload(ctx context.Context, at Location, upload object.VersionID) error {
	held, err := s.hold(ctx, at, upload)
	if err != nil {
		return err
	}
	if err := s.removeUpload(ctx, held); err != nil {
		s.giveUp(ctx, held)
		return err
	}
	s.hint(hint{
		Released:  blockapi.Released{Bucket: at.Bucket, Key: at.Key, Version: upload},
		manifests: true,
	})
	return nil
}

// ListParts implements Store.
func (s *Service) ListParts(ctx context.Context, in ListPartsInput) (PartListing, error) {
	upload, err := s.upload(ctx, in.Location, in.Upload)
	if err != nil {
		return PartListing{}, err
	}
	out := PartListing{
		Checksum: algorithms[upload.Checksum], FullObject: upload.FullObject, Initiator: upload.Initiator,
	}
	after := max(0, in.After)
	if in.Limit <= 0 || after >= MaxParts {
		return out, nil
	}
	limit := min(in.Limit, MaxListed)
	// One more than asked for tells whether there are more; but a scan has its
	// own limit, and rows of another upload may follow.
	for number, part := range s.uploads.Parts(ctx, in.Bucket, in.Key, in.Upload, after, limit+1, &err) {
		if len(out.Parts) == limit {
			out.More = true
			break
		}
		out.Parts = append(out.Parts, partInfo(number, part))
		out.Next = number
	}
	return out, err
}

func (s *Service) logCleanup(ctx context.Context, msg string, err error) {
	if err != nil {
		s.log.WarnContext(ctx, msg, "error", err)
	}
}
