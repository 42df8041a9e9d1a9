package objects

import (
	"context"
	"strings"

	"hangar/shared/metaapi"
	"hangar/shared/object"
	"hangar/shared/record"
)

// MaxListed is the most entries of a page of any listing.
const MaxListed = 1000

// List implements Store.
func (s *Service) List(ctx context.Context, in ListInput) (Listing, error) {
	if in.Limit <= 0 {
		return Listing{}, nil
	}
	r := metaapi.Range{
		Table: metaapi.Objects, Bucket: in.Bucket,
		Prefix: in.Prefix, Delimiter: in.Delimiter,
		FromKey: in.After, FromExcluded: in.After != "",
		Limit: min(in.Limit, MaxListed),
	}
	page, err := s.rows.Scan(ctx, r)
	if err != nil {
		return Listing{}, err
	}
	out := Listing{More: page.More}
	if len(page.Entries) > 0 {
		out.Objects = make([]Info, 0, len(page.Entries))
		out.Next = page.Entries[len(page.Entries)-1].Key
	}
	for _, e := range page.Entries {
		if e.Prefix {
			out.Prefixes = append(out.Prefixes, e.Key)
			continue
		}
		head, err := record.DecodeObjectHead(e.Head)
		if err != nil {
			return Listing{}, err
		}
		out.Objects = append(out.Objects, headInfo(Location{in.Bucket, e.Key}, head))
	}
	return out, nil
}

// ListUploads implements Store.
func (s *Service) ListUploads(ctx context.Context, in ListUploadsInput) (UploadListing, error) {
	if in.Limit <= 0 {
		return UploadListing{}, nil
	}
	r := metaapi.Range{
		Table: metaapi.Uploads, Bucket: in.Bucket,
		Prefix: in.Prefix, Delimiter: in.Delimiter,
		Limit: min(in.Limit, MaxListed),
	}
	if err := in.start(&r); err != nil {
		return UploadListing{}, err
	}
	page, err := s.rows.Scan(ctx, r)
	if err != nil {
		return UploadListing{}, err
	}
	out := UploadListing{More: page.More}
	for _, e := range page.Entries {
		out.NextKey, out.NextUpload = e.Key, ""
		if e.Prefix {
			out.Prefixes = append(out.Prefixes, e.Key)
			continue
		}
		id, err := record.ParseUploadSub(e.Sub)
		if err != nil {
			return UploadListing{}, err
		}
		head, err := record.DecodeUploadHead(e.Head)
		if err != nil {
			return UploadListing{}, err
		}
		out.NextUpload = id.String()
		out.Uploads = append(out.Uploads, Upload{
			Key: e.Key, ID: id, Started: head.Started, Initiator: head.Initiator,
			Checksum: algorithms[head.Checksum], FullObject: head.FullObject,
		})
	}
	return out, nil
}

// start sets where the scan begins: after one upload or, without an upload
// marker, after all uploads of a key or everything under a common prefix.
func (in ListUploadsInput) start(r *metaapi.Range) error {
	if in.AfterKey == "" {
		return nil
	}
	r.FromKey, r.FromExcluded = in.AfterKey, true
	if in.AfterUpload != "" {
		id, err := object.ParseVersionID(in.AfterUpload)
		if err != nil {
			return invalid("upload id marker: %s", err)
		}
		r.FromSub = string(id[:])
		return nil
	}
	r.FromSub = afterAllUploads
	return nil
}

// afterAllUploads sorts after the Sub of every upload.
var afterAllUploads = strings.Repeat("\xff", len(object.VersionID{})+1)
