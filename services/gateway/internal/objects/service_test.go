package objects

import (
	"bytes"
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"hangar/services/gateway/internal/checksum"
	"hangar/shared/blockapi/blocktest"
	"hangar/shared/fault"
	"hangar/shared/metaapi"
	"hangar/shared/metaapi/metatest"
	"hangar/shared/object"
)

// The tests cut everything small: blocks of 16 bytes, pages of 4 of them.
const (
	testInline = 8
	testBlock  = 16
	testPage   = 4
)

// world is a Service over fakes, with a clock that the test moves.
type world struct {
	*Service
	rows   *spoiledRows
	blocks *blocktest.Store
	bucket object.BucketID

	mu  sync.Mutex
	now time.Time // guarded by mu
}

func newWorld(t testing.TB, change ...func(*Config)) *world {
	t.Helper()
	w := &world{
		rows: &spoiledRows{Rows: metatest.NewRows()}, blocks: blocktest.NewStore(),
		bucket: object.NewBucketID(), now: time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC),
	}
	cfg := Config{
		InlineBytes: testInline, BlockBytes: testBlock, PageBlocks: testPage,
		WriteMemory: 64 * testBlock, ReadMemory: 64 * testBlock, MinPartBytes: 20, Now: w.clock,
	}
	for _, f := range change {
		f(&cfg)
	}
	w.Service = New(w.rows, w.blocks, slog.New(slog.DiscardHandler), cfg)
	return w
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func (w *world) at(key string) Location { return Location{w.bucket, key} }

// spoiledRows lets a test fail or delay writes.
type spoiledRows struct {
	metaapi.Rows
	mu     sync.Mutex
	before func(op string, key metaapi.RowKey) error // guarded by mu
}

func (r *spoiledRows) spoil(f func(op string, key metaapi.RowKey) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.before = f
}

func (r *spoiledRows) enter(op string, key metaapi.RowKey) error {
	r.mu.Lock()
	f := r.before
	r.mu.Unlock()
	if f == nil {
		return nil
	}
	return f(op, key)
}

func (r *spoiledRows) Get(ctx context.Context, key metaapi.RowKey) (metaapi.Row, error) {
	if err := r.enter("get", key); err != nil {
		return metaapi.Row{}, err
	}
	return r.Rows.Get(ctx, key)
}

func (r *spoiledRows) Put(ctx context.Context, key metaapi.RowKey, v *metaapi.Value) (metaapi.Written, error) {
	if err := r.enter("put", key); err != nil {
		return metaapi.Written{}, err
	}
	return r.Rows.Put(ctx, key, v)
}

func (r *spoiledRows) Update(ctx context.Context, key metaapi.RowKey, decide metaapi.Update) (metaapi.Written, error) {
	if err := r.enter("update", key); err != nil {
		return metaapi.Written{}, err
	}
	return r.Rows.Update(ctx, key, decide)
}

// testBody is a Body over bytes that may fail after some of them.
type testBody struct {
	*hashed
	announced int64
}

func (b testBody) Size() int64 { return b.announced }

func bodyOf(data []byte) Body { return newHashed(bytes.NewReader(data), int64(len(data)), "") }

func summedBody(data []byte, a ChecksumAlgorithm) Body {
	return newHashed(bytes.NewReader(data), int64(len(data)), a)
}

// unsizedBody is one whose length is not known before it ends.
func unsizedBody(data []byte) Body {
	return testBody{newHashed(oneByOne{bytes.NewReader(data)}, int64(len(data)), ""), -1}
}

// oneByOne reads in odd little pieces.
type oneByOne struct{ r io.Reader }

func (o oneByOne) Read(p []byte) (int, error) { return o.r.Read(p[:min(len(p), 7)]) }

var errBroken = errors.New("the body is broken")

// brokenBody fails where the content should end.
func brokenBody(data []byte, size int64) Body {
	r := io.MultiReader(bytes.NewReader(data), failing{})
	return testBody{newHashed(r, size, ""), size}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errBroken }

func content0(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(n)})
	_, _ = r.Read(b)
	return b
}

func (w *world) put(t testing.TB, key string, data []byte) Info {
	t.Helper()
	info, err := w.Put(t.Context(), PutInput{Location: w.at(key), Body: bodyOf(data)})
	if err != nil {
		t.Fatalf("put %s of %d bytes: %v", key, len(data), err)
	}
	return info
}

// read returns what a GET yields, by Read and by WriteTo alike.
func (w *world) read(t testing.TB, in GetInput) ([]byte, Info) {
	t.Helper()
	info, r, err := w.Get(t.Context(), in)
	if err != nil {
		t.Fatalf("get %+v: %v", in, err)
	}
	got, err := io.ReadAll(oneByOne{r})
	if err != nil {
		t.Fatalf("read %+v: %v", in, err)
	}
	r.Close()
	_, r, err = w.Get(t.Context(), in)
	if err != nil {
		t.Fatalf("get %+v: %v", in, err)
	}
	var again bytes.Buffer
	if _, err := r.(io.WriterTo).WriteTo(&again); err != nil || !bytes.Equal(again.Bytes(), got) {
		t.Fatalf("WriteTo of %+v: %v, or other bytes than Read", in, err)
	}
	r.Close()
	if len(w.reads.held) != 0 {
		t.Fatalf("%d blocks held after the reader was closed", len(w.reads.held))
	}
	return got, info
}

func (w *world) wants(t testing.TB, key string, want []byte) Info {
	t.Helper()
	got, info := w.read(t, GetInput{Location: w.at(key)})
	if !bytes.Equal(got, want) {
		t.Fatalf("%s holds %d bytes, not the %d expected, or others", key, len(got), len(want))
	}
	return info
}

func (w *world) wantsNone(t testing.TB, key string) {
	t.Helper()
	if _, err := w.Head(t.Context(), w.at(key)); !errors.Is(err, ErrNoSuchKey) {
		t.Fatalf("%s is there: %v", key, err)
	}
}

// edges are the sizes around everything that changes how content is kept.
func edges() (sizes []int) {
	for _, at := range []int{1, testInline, testBlock, 2 * testBlock, testBlock * testPage, 2 * testBlock * testPage, 9 * testBlock * testPage} {
		sizes = append(sizes, at-1, at, at+1)
	}
	return sizes
}

func TestPutThenGet(t *testing.T) {
	w := newWorld(t)
	for _, n := range edges() {
		data := content0(n)
		for how, body := range map[string]Body{
			"sized": bodyOf(data), "unsized": unsizedBody(data), "summed": summedBody(data, SHA256),
		} {
			key := fmt.Sprintf("%s/%d", how, n)
			meta := Metadata{ContentType: "a/b", StorageClass: "GLACIER", User: map[string]string{"x": "ü", "a": ""}}
			info, err := w.Put(t.Context(), PutInput{Location: w.at(key), Body: body, Metadata: meta})
			if err != nil {
				t.Fatalf("%s: %v", key, err)
			}
			got := w.wants(t, key, data)
			if got.ETag != fmt.Sprintf("%x", md5.Sum(data)) || got.ETag != info.ETag || got.Size != int64(n) ||
				got.Metadata.ContentType != "a/b" || got.Metadata.User["x"] != "ü" || len(got.Metadata.User) != 2 ||
				got.Metadata.StorageClass != "GLACIER" || !got.Modified.Equal(w.clock()) || !bytes.Equal(got.Checksum.Value, info.Checksum.Value) {
				t.Errorf("%s: %+v", key, got)
			}
			if how == "summed" {
				h := checksum.SHA256.New()
				h.Write(data)
				if got.Checksum.Algorithm != SHA256 || !bytes.Equal(got.Checksum.Value, h.Sum(nil)) {
					t.Errorf("%s: checksum %+v", key, got.Checksum)
				}
			}
		}
	}
	if len(w.buffers.held) != 0 {
		t.Errorf("%d buffers were not given back", len(w.buffers.held))
	}
}

// Every range of every size, against the plain bytes.
func TestRanges(t *testing.T) {
	w := newWorld(t)
	sizes := []int{1, testInline, testBlock + 3, testBlock*testPage + 5, 3*testBlock*testPage + 1}
	for _, n := range sizes {
		data := content0(n)
		key := fmt.Sprint(n)
		w.put(t, key, data)
		w.checkRanges(t, key, data)
	}
}

func (w *world) checkRanges(t *testing.T, key string, data []byte) {
	t.Helper()
	n := len(data)
	for range 150 {
		a, b := rand.IntN(n), rand.IntN(n+20)
		if b < a {
			a, b = b, a
		}
		end := min(b+1, n)
		got, info := w.read(t, GetInput{Location: w.at(key), Range: &Range{int64(a), int64(b)}})
		if !bytes.Equal(got, data[a:end]) || info.Offset != int64(a) || info.Length != int64(end-a) {
			t.Fatalf("%s: range %d-%d of %d", key, a, b, n)
		}
		if got, _ = w.read(t, GetInput{Location: w.at(key), Range: &Range{int64(a), -1}}); !bytes.Equal(got, data[a:]) {
			t.Fatalf("%s: range %d- of %d", key, a, n)
		}
		if got, _ = w.read(t, GetInput{Location: w.at(key), Range: &Range{-1, int64(b + 1)}}); !bytes.Equal(got, data[max(0, n-b-1):]) {
			t.Fatalf("%s: range -%d of %d", key, b+1, n)
		}
	}
	for _, r := range []Range{{int64(n), -1}, {int64(n), int64(n + 5)}, {-1, 0}} {
		_, _, err := w.Get(t.Context(), GetInput{Location: w.at(key), Range: &r})
		if !errors.Is(err, ErrInvalidRange) {
			t.Errorf("%s: range %+v of %d: %v", key, r, n, err)
		}
	}
}

func TestBrokenBodyLeavesNothing(t *testing.T) {
	w := newWorld(t)
	data := content0(10 * testBlock)
	before := w.put(t, "old", data)
	for cut := 0; cut <= len(data); cut++ {
		for _, size := range []int64{int64(len(data)), -1, int64(cut)} {
			_, err := w.Put(t.Context(), PutInput{Location: w.at("new"), Body: brokenBody(data[:cut], size)})
			if !errors.Is(err, errBroken) {
				t.Fatalf("cut at %d of %d: %v", cut, size, err)
			}
			_, err = w.Put(t.Context(), PutInput{Location: w.at("old"), Body: brokenBody(data[:cut], size)})
			if !errors.Is(err, errBroken) {
				t.Fatalf("cut at %d of %d: %v", cut, size, err)
			}
		}
	}
	w.wantsNone(t, "new")
	if after := w.wants(t, "old", data); after.Version != before.Version {
		t.Error("the old object was replaced")
	}
	if len(w.buffers.held) != 0 {
		t.Errorf("%d buffers were not given back", len(w.buffers.held))
	}
}

func TestBodyOfAnotherSizeThanAnnounced(t *testing.T) {
	w := newWorld(t)
	for _, n := range edges() {
		for _, announced := range []int64{int64(n) - 1, int64(n) + 1} {
			if announced < 0 {
				continue
			}
			body := testBody{newHashed(bytes.NewReader(content0(n)), int64(n), ""), announced}
			_, err := w.Put(t.Context(), PutInput{Location: w.at("k"), Body: body})
			if !fault.Is(err, fault.Invalid) {
				t.Errorf("%d bytes announced as %d: %v", n, announced, err)
			}
		}
	}
	w.wantsNone(t, "k")
}

func TestFailedBlockOrRowFailsThePut(t *testing.T) {
	full := fault.New(fault.StorageFull, "disk full")
	for _, n := range edges() {
		w := newWorld(t)
		w.blocks.FailWith(func(op string) error {
			if op == "put" {
				return full
			}
			return nil
		})
		_, err := w.Put(t.Context(), PutInput{Location: w.at("k"), Body: bodyOf(content0(n))})
		if inline := n <= testInline; inline != (err == nil) || !inline && !fault.Is(err, fault.StorageFull) {
			t.Errorf("%d bytes with failing blocks: %v", n, err)
		}
		if n > testInline {
			w.wantsNone(t, "k")
			if len(w.hints) != 1 {
				t.Errorf("%d hints about a failed upload", len(w.hints))
			}
		}
		w = newWorld(t)
		for _, table := range []metaapi.Table{metaapi.Objects, metaapi.Manifests} {
			w.rows.spoil(func(_ string, key metaapi.RowKey) error {
				if key.Table == table {
					return full
				}
				return nil
			})
			_, err = w.Put(t.Context(), PutInput{Location: w.at("k"), Body: bodyOf(content0(n))})
			paged := n > testBlock*testPage
			if failed := table == metaapi.Objects || paged; failed != fault.Is(err, fault.StorageFull) {
				t.Errorf("%d bytes with failing rows of table %d: %v", n, table, err)
			}
		}
		if len(w.buffers.held) != 0 {
			t.Errorf("%d buffers were not given back", len(w.buffers.held))
		}
	}
}

func TestConditionalWritesHaveOneWinner(t *testing.T) {
	w := newWorld(t)
	for round := range 20 {
		key := fmt.Sprint("k", round)
		const writers = 8
		var wins sync.Map
		var group sync.WaitGroup
		for i := range writers {
			group.Go(func() {
				data := content0(i * 5)
				_, err := w.Put(context.Background(), PutInput{
					Location: w.at(key), Body: bodyOf(data), If: WriteConditions{IfNoneMatchAny: true},
				})
				if err == nil {
					wins.Store(i, data)
				} else if !fault.Is(err, fault.Precondition) {
					t.Errorf("loser got %v", err)
				}
			})
		}
		group.Wait()
		n := 0
		wins.Range(func(_, data any) bool {
			n++
			w.wants(t, key, data.([]byte))
			return true
		})
		if n != 1 {
			t.Fatalf("%d winners", n)
		}
	}
}

func TestWriteConditions(t *testing.T) {
	w := newWorld(t)
	put := func(key, body string, c WriteConditions) error {
		_, err := w.Put(t.Context(), PutInput{Location: w.at(key), Body: bodyOf([]byte(body)), If: c})
		return err
	}
	if err := put("none", "x", WriteConditions{IfMatch: "*"}); !errors.Is(err, ErrNoSuchKey) {
		t.Errorf("If-Match on nothing: %v", err)
	}
	info := w.put(t, "k", []byte("one"))
	if err := put("k", "two", WriteConditions{IfMatch: "0123"}); !fault.Is(err, fault.Precondition) {
		t.Errorf("If-Match of another: %v", err)
	}
	if err := put("k", "two", WriteConditions{IfMatch: `"` + info.ETag + `"`}); err != nil {
		t.Errorf("If-Match: %v", err)
	}
	if err := w.Delete(t.Context(), w.at("k"), WriteConditions{IfMatch: info.ETag}); !fault.Is(err, fault.Precondition) {
		t.Errorf("delete If-Match of the old one: %v", err)
	}
	w.wants(t, "k", []byte("two"))
	if err := w.Delete(t.Context(), w.at("k"), WriteConditions{IfMatch: "*"}); err != nil {
		t.Errorf("delete If-Match *: %v", err)
	}
	w.wantsNone(t, "k")
	if err := w.Delete(t.Context(), w.at("k"), WriteConditions{}); err != nil {
		t.Errorf("delete of nothing: %v", err)
	}
}

// What could be written but not read is refused.
func TestKeysAndMetadataAreChecked(t *testing.T) {
	w := newWorld(t)
	long := strings.Repeat("x", 20<<10)
	for name, in := range map[string]PutInput{
		"no key":        {},
		"long key":      {Location: w.at(long)},
		"not UTF-8":     {Location: w.at("\xff")},
		"field":         {Location: w.at("k"), Metadata: Metadata{ContentType: long}},
		"user":          {Location: w.at("k"), Metadata: Metadata{User: map[string]string{"a": long}}},
		"storage class": {Location: w.at("k"), Metadata: Metadata{StorageClass: long}},
	} {
		in.Body = bodyOf(nil)
		if _, err := w.Put(t.Context(), in); !fault.Is(err, fault.Invalid) {
			t.Errorf("put with %s: %v", name, err)
		}
		if _, err := w.CreateUpload(t.Context(), CreateUploadInput{Location: in.Location, Metadata: in.Metadata}); !fault.Is(err, fault.Invalid) {
			t.Errorf("upload with %s: %v", name, err)
		}
	}
	for name, c := range map[string]Config{
		"blocks": {BlockBytes: 9 << 20}, "inline": {InlineBytes: 2 << 20}, "page": {PageBlocks: 5000}, "window": {ReadWindow: -1},
	} {
		if err := c.Validate(); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := (Config{}).Validate(); err != nil {
		t.Error(err)
	}
}
