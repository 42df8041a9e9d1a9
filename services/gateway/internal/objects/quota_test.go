package objects

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"hangar/services/gateway/internal/quota"
	"hangar/shared/fault"
	"hangar/shared/metaapi"
	"hangar/shared/object"
)

// limited is a world whose buckets have that quota.
func limited(t *testing.T, objects, bytes int64) *world {
	return newWorld(t, func(c *Config) {
		c.Limits = func(object.BucketID) quota.Limits { return quota.Limits{Objects: &objects, Bytes: &bytes} }
	})
}

// holds checks what is counted for the quota.
func (w *world) holds(t *testing.T, objects, bytes int64) {
	t.Helper()
	if got, err := w.used(t.Context(), w.bucket); err != nil || got != (quota.Amount{Objects: objects, Bytes: bytes}) {
		t.Errorf("the bucket holds %+v, %v; want %d objects, %d bytes", got, err, objects, bytes)
	}
}

func refused(t *testing.T, what string, err error) {
	t.Helper()
	if !fault.Is(err, fault.QuotaExceeded) {
		t.Errorf("%s: %v", what, err)
	}
}

func accepted(t *testing.T, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

func (w *world) putN(t *testing.T, key string, n int) error {
	_, err := w.Put(t.Context(), PutInput{Location: w.at(key), Body: bodyOf(make([]byte, n))})
	return err
}

func TestQuotaOfObjects(t *testing.T) {
	w, ctx := limited(t, 2, 100), t.Context()
	accepted(t, "first", w.putN(t, "a", 40))
	accepted(t, "second", w.putN(t, "b", 5))
	refused(t, "third", w.putN(t, "c", 1))
	accepted(t, "overwrite up to the last byte", w.putN(t, "b", 60))
	refused(t, "overwrite by one byte too many", w.putN(t, "b", 61))
	_, err := w.Put(ctx, PutInput{Location: w.at("b"), Body: unsizedBody(make([]byte, 61))})
	refused(t, "the same without a size", err)
	accepted(t, "overwrite by less", w.putN(t, "b", 59))
	accepted(t, "delete", w.Delete(ctx, w.at("a"), WriteConditions{}))
	_, err = w.Copy(ctx, CopyInput{Source: w.at("b"), Target: w.at("c")})
	refused(t, "copy", err)
	accepted(t, "overwrite", w.putN(t, "b", 50))
	_, err = w.Copy(ctx, CopyInput{Source: w.at("b"), Target: w.at("c")})
	accepted(t, "copy that fits", err)
	_, err = w.Copy(ctx, CopyInput{Source: w.at("b"), Target: w.at("b"), Metadata: &Metadata{ContentType: "x/y"}})
	accepted(t, "copy onto itself", err)
	w.holds(t, 2, 100)
}

// TestQuotaOfParts: parts count when they are uploaded, so that completing adds
// no bytes, and aborting frees them.
func TestQuotaOfParts(t *testing.T) {
	w, ctx := limited(t, 2, 100), t.Context()
	upload := func(key string) object.VersionID {
		id, err := w.CreateUpload(ctx, CreateUploadInput{Location: w.at(key)})
		accepted(t, "begin an upload", err)
		return id
	}
	part := func(key string, id object.VersionID, number, n int) (PartInfo, error) {
		return w.UploadPart(ctx, PartInput{Location: w.at(key), Upload: id, Number: number, Body: bodyOf(make([]byte, n))})
	}
	id := upload("a")
	_, err := part("a", id, 1, 60)
	accepted(t, "part", err)
	_, err = part("a", id, 2, 41)
	refused(t, "part too large", err)
	p, err := part("a", id, 1, 100)
	accepted(t, "part uploaded again", err)
	w.holds(t, 0, 100)
	refused(t, "object beside it", w.putN(t, "b", 1))
	_, err = w.CompleteUpload(ctx, CompleteInput{Location: w.at("a"), Upload: id, Parts: []CompletePart{{Number: 1, ETag: p.ETag}}, Size: -1})
	accepted(t, "complete", err)
	w.holds(t, 1, 100)
	accepted(t, "overwrite", w.putN(t, "a", 10))
	id = upload("b")
	_, err = part("b", id, 1, 90)
	accepted(t, "part of another", err)
	refused(t, "object beside it", w.putN(t, "c", 1))
	accepted(t, "abort", w.AbortUpload(ctx, w.at("b"), id))
	accepted(t, "object in its place", w.putN(t, "c", 90))
	id = upload("d")
	p, err = part("d", id, 1, 0)
	accepted(t, "empty part", err)
	_, err = w.CompleteUpload(ctx, CompleteInput{Location: w.at("d"), Upload: id, Parts: []CompletePart{{Number: 1, ETag: p.ETag}}, Size: -1})
	refused(t, "a third object", err)
	w.holds(t, 2, 100)
}

// TestQuotaCostsNothingWithout: without a quota nothing is counted.
func TestQuotaCostsNothingWithout(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Limits = func(object.BucketID) quota.Limits { return quota.Limits{} } })
	w.rows.spoil(func(op string, _ metaapi.RowKey) error {
		if op == "get" {
			return errors.New("read for nothing")
		}
		return nil
	})
	accepted(t, "put", w.putN(t, "a", 40))
}

// TestQuotaOverTwoGateways: concurrent writers through two gateways pass a limit
// by no more than those of one of them have under way, and fill it.
func TestQuotaOverTwoGateways(t *testing.T) {
	const limit, writers = 60, 5
	one := limited(t, limit, 1<<40)
	two := New(one.rows, one.blocks, one.log, one.cfg)
	var all sync.WaitGroup
	for g, s := range []*Service{one.Service, two} {
		for w := range writers {
			all.Go(func() {
				for i := 0; ; i++ {
					at := one.at(fmt.Sprint(g, w, i))
					_, err := s.Put(t.Context(), PutInput{Location: at, Body: bodyOf([]byte{1})})
					if fault.Is(err, fault.QuotaExceeded) {
						return
					}
					if err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
	}
	all.Wait()
	got, err := one.used(t.Context(), one.bucket)
	if err != nil || got.Objects < limit || got.Objects > limit+writers {
		t.Errorf("%+v, %v", got, err)
	}
}
