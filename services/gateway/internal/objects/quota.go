package objects

import (
	"context"

	"hangar/services/gateway/internal/quota"
	"hangar/shared/metaapi"
	"hangar/shared/object"
)

// used counts what a bucket's quota is about: its objects, and the bytes of its
// objects and of the parts of unfinished uploads, which take as much room.
func (s *Service) used(ctx context.Context, b object.BucketID) (quota.Amount, error) {
	objects, err := s.rows.Counters(ctx, metaapi.Objects, b)
	if err != nil {
		return quota.Amount{}, err
	}
	parts, err := s.rows.Counters(ctx, metaapi.Parts, b)
	return quota.Amount{Objects: objects.Count, Bytes: objects.Bytes + parts.Bytes}, err
}

// limits of a bucket.
func (s *Service) limits(b object.BucketID) quota.Limits {
	if s.cfg.Limits == nil {
		return quota.Limits{}
	}
	return s.cfg.Limits(b)
}

// growth is what a write of size bytes over a row adds to the bucket.
func (s *Service) growth(key metaapi.RowKey, limits quota.Limits, size int64) quota.Write {
	most := quota.Amount{Bytes: size}
	if key.Table == metaapi.Objects {
		most.Objects = 1
	}
	return quota.Write{Bucket: key.Bucket, Limits: limits, Most: most, Exact: func(ctx context.Context) (quota.Amount, error) {
		row, err := s.rows.Get(ctx, key)
		if err != nil || row.Value == nil {
			return most, err
		}
		old := quota.Amount{Objects: row.Value.Count, Bytes: row.Value.Bytes}
		if key.Table != metaapi.Objects {
			old.Objects = 0
		}
		return quota.Amount{Objects: most.Objects - old.Objects, Bytes: most.Bytes - old.Bytes}, nil
	}}
}

// reserve lets a write of size bytes over a row in, if the bucket's quota has
// room for what it adds. done must follow the write.
func (s *Service) reserve(ctx context.Context, key metaapi.RowKey, size int64) (done func(), err error) {
	limits := s.limits(key.Bucket)
	if limits.None() {
		return func() {}, nil
	}
	return s.ledger.Reserve(ctx, s.growth(key, limits, size))
}

// foresee refuses a write early that reserve would refuse now. A negative size
// is one that is not known.
func (s *Service) foresee(ctx context.Context, key metaapi.RowKey, size int64) error {
	limits := s.limits(key.Bucket)
	if limits.None() {
		return nil
	}
	return s.ledger.Foresee(ctx, s.growth(key, limits, max(size, 0)))
}
