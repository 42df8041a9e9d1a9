// Package floor is the S3 edge over a store that stores nothing: the least that
// any gateway of this design costs. Uploads are read, hashed and forgotten but
// for their size; downloads are zeros of that size.
package floor

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"hangar/services/gateway/internal/access"
	"hangar/services/gateway/internal/httpd"
	"hangar/services/gateway/internal/objects"
	"hangar/services/gateway/internal/s3"
	"hangar/shared/control"
	"hangar/shared/fault"
	"hangar/shared/object"
)

// Options say whom to serve.
type Options struct {
	AccessKey, SecretKey string
	Bucket, Region       string
	Log                  *slog.Logger
}

// Serve serves on ln until ctx ends.
func Serve(ctx context.Context, ln net.Listener, o Options) error {
	d := newDirectory(o)
	api := s3.New(s3.Options{
		Store: newStore(), Buckets: fixedBuckets{}, View: func() access.Directory { return d },
		Region: o.Region, Owner: "floor", Log: o.Log,
	})
	return httpd.New(httpd.Config{}, api, o.Log).Serve(ctx, ln)
}

// directory knows one key and one bucket.
type directory struct {
	key    control.Key
	bucket control.Bucket
	name   string
}

func newDirectory(o Options) *directory {
	return &directory{
		key: control.Key{ID: o.AccessKey, Secret: o.SecretKey},
		bucket: control.Bucket{
			ID: object.NewBucketID(), Created: time.Now(),
			Keys: map[string]control.Permission{o.AccessKey: {Read: true, Write: true, Owner: true}},
		},
		name: o.Bucket,
	}
}

func (d *directory) AsOf() (revision, changed control.Revision) { return 0, 0 }

func (d *directory) Key(id string) *control.Key {
	if id != d.key.ID {
		return nil
	}
	return &d.key
}

func (d *directory) Resolve(_ *control.Key, name string) *control.Bucket {
	if name != d.name {
		return nil
	}
	return &d.bucket
}

func (d *directory) BucketsOf(string) []control.Named {
	return []control.Named{{Name: d.name, Bucket: &d.bucket}}
}

// fixedBuckets neither creates nor deletes.
type fixedBuckets struct{}

func (fixedBuckets) Create(_ context.Context, _, name string) (object.BucketID, error) {
	return object.BucketID{}, fault.New(fault.AlreadyExists, "bucket %q", name)
}

func (fixedBuckets) Delete(context.Context, string, object.BucketID) error {
	return fault.New(fault.NotImplemented, "the floor has one bucket")
}

// maxSizes bounds what the store remembers. Beyond it sizes are forgotten.
const maxSizes = 1 << 20

// syntheticKeys is how many keys a listing pretends to find.
const syntheticKeys = 10_000

// store implements objects.Store without storing. Sizes are kept by key; the
// parts of an upload count under its id.
type store struct {
	mu    sync.RWMutex
	sizes map[string]int64 // guarded by mu
	began time.Time
}

func newStore() *store { return &store{sizes: map[string]int64{}, began: time.Now()} }

var _ objects.Store = (*store)(nil)

var errAbsent = fault.Wrap(fault.NotFound, objects.ErrNoSuchKey, "the floor never saw this key")

func (s *store) set(key string, size int64, add bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.sizes) >= maxSizes {
		clear(s.sizes)
	}
	if add {
		size += s.sizes[key]
	}
	s.sizes[key] = size
}

func (s *store) size(key string) (int64, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	n, ok := s.sizes[key]
	return n, ok
}

var discards = sync.Pool{New: func() any { return new([256 << 10]byte) }}

// discard reads a body to its verified end.
func discard(body io.Reader) (n int64, err error) {
	buf := discards.Get().(*[256 << 10]byte)
	defer discards.Put(buf)
	for {
		got, err := body.Read(buf[:])
		n += int64(got)
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}

func (s *store) Put(_ context.Context, in objects.PutInput) (objects.Info, error) {
	n, err := discard(in.Body)
	if err != nil {
		return objects.Info{}, err
	}
	s.set(in.Key, n, false)
	return objects.Info{ETag: fmt.Sprintf("%x", in.Body.MD5()), Checksum: in.Body.Checksum()}, nil
}

func (s *store) info(at objects.Location) (objects.Info, error) {
	n, ok := s.size(at.Key)
	if !ok {
		return objects.Info{}, errAbsent
	}
	return objects.Info{Location: at, Size: n, Length: n, Modified: s.began, ETag: "d41d8cd98f00b204e9800998ecf8427e"}, nil
}

func (s *store) Head(_ context.Context, at objects.Location) (objects.Info, error) { return s.info(at) }

func (s *store) Get(_ context.Context, in objects.GetInput) (objects.Info, io.ReadCloser, error) {
	info, err := s.info(in.Location)
	if err != nil || in.HeadOnly {
		return info, nil, err
	}
	if r := in.Range; r != nil && r.First >= 0 && r.First < info.Size {
		info.Offset, info.Length = r.First, info.Size-r.First
		if r.Last >= 0 {
			info.Length = min(info.Length, r.Last-r.First+1)
		}
	}
	return info, &zeros{left: info.Length}, nil
}

// block is what downloads are made of, a block of the real store at a time.
var block [1 << 20]byte

// zeros yields left bytes.
type zeros struct{ left int64 }

func (z *zeros) Read(p []byte) (int, error) {
	if z.left == 0 {
		return 0, io.EOF
	}
	n := int(min(z.left, int64(len(p))))
	clear(p[:n])
	z.left -= int64(n)
	return n, nil
}

// WriteTo implements io.WriterTo.
func (z *zeros) WriteTo(w io.Writer) (sent int64, err error) {
	for z.left > 0 && err == nil {
		var n int
		n, err = w.Write(block[:min(z.left, int64(len(block)))])
		z.left -= int64(n)
		sent += int64(n)
	}
	return sent, err
}

func (z *zeros) Close() error { return nil }

func (s *store) Delete(_ context.Context, at objects.Location, _ objects.WriteConditions) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sizes, at.Key)
	return nil
}

func (s *store) Copy(_ context.Context, in objects.CopyInput) (objects.Info, error) {
	info, err := s.info(in.Source)
	if err == nil {
		s.set(in.Target.Key, info.Size, false)
	}
	return info, err
}

// List pretends that every prefix holds syntheticKeys keys.
func (s *store) List(_ context.Context, in objects.ListInput) (objects.Listing, error) {
	first := 0
	if in.After != "" {
		var n int
		if _, err := fmt.Sscanf(in.After[min(len(in.Prefix), len(in.After)):], "%08d", &n); err == nil {
			first = n + 1
		}
	}
	n := max(0, min(in.Limit, syntheticKeys-first))
	page := objects.Listing{Objects: make([]objects.Info, n), More: first+n < syntheticKeys}
	for i := range page.Objects {
		page.Objects[i] = objects.Info{
			Location: objects.Location{Bucket: in.Bucket, Key: fmt.Sprintf("%s%08d", in.Prefix, first+i)},
			Size:     4096, Modified: s.began, ETag: "d41d8cd98f00b204e9800998ecf8427e",
		}
	}
	if n > 0 {
		page.Next = page.Objects[n-1].Key
	}
	return page, nil
}

func (s *store) CreateUpload(context.Context, objects.CreateUploadInput) (object.VersionID, error) {
	return object.NewVersionID(), nil
}

func (s *store) UploadPart(_ context.Context, in objects.PartInput) (objects.PartInfo, error) {
	n, err := discard(in.Body)
	if err != nil {
		return objects.PartInfo{}, err
	}
	s.set(in.Upload.String(), n, true)
	return objects.PartInfo{Number: in.Number, Size: n, ETag: fmt.Sprintf("%x", in.Body.MD5()), Checksum: in.Body.Checksum()}, nil
}

func (s *store) UploadPartCopy(context.Context, objects.PartCopyInput) (objects.PartInfo, error) {
	return objects.PartInfo{}, fault.New(fault.NotImplemented, "the floor copies no parts")
}

func (s *store) CompleteUpload(_ context.Context, in objects.CompleteInput) (objects.Info, error) {
	n, _ := s.size(in.Upload.String())
	s.set(in.Key, n, false)
	return objects.Info{ETag: fmt.Sprintf("d41d8cd98f00b204e9800998ecf8427e-%d", len(in.Parts))}, nil
}

func (s *store) AbortUpload(context.Context, objects.Location, object.VersionID) error { return nil }

func (s *store) ListParts(context.Context, objects.ListPartsInput) (objects.PartListing, error) {
	return objects.PartListing{}, nil
}

func (s *store) ListUploads(context.Context, objects.ListUploadsInput) (objects.UploadListing, error) {
	return objects.UploadListing{}, nil
}
