package objects

import (
	"bytes"
	"cmp"
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"hangar/services/gateway/internal/checksum"
	"hangar/shared/fault"
	"hangar/shared/metaapi"
	"hangar/shared/object"
	"hangar/shared/record"
)

func (w *world) create(t testing.TB, key string, change ...func(*CreateUploadInput)) object.VersionID {
	t.Helper()
	in := CreateUploadInput{Location: w.at(key), Metadata: Metadata{ContentType: "c/t", StorageClass: "COLD"}, Initiator: "me"}
	for _, f := range change {
		f(&in)
	}
	id, err := w.CreateUpload(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func (w *world) part(t testing.TB, key string, id object.VersionID, number int, data []byte, a ChecksumAlgorithm) CompletePart {
	t.Helper()
	info, err := w.UploadPart(t.Context(), PartInput{
		Location: w.at(key), Upload: id, Number: number, Body: summedBody(data, a),
	})
	if err != nil {
		t.Fatalf("part %d: %v", number, err)
	}
	return CompletePart{Number: number, ETag: info.ETag, Checksum: info.Checksum.Value}
}

func (w *world) finishUpload(key string, id object.VersionID, parts ...CompletePart) (Info, error) {
	return w.CompleteUpload(context.Background(), CompleteInput{Location: w.at(key), Upload: id, Parts: parts, Size: -1})
}

func multipartETag(parts ...[]byte) string {
	h := md5.New()
	for _, p := range parts {
		sum := md5.Sum(p)
		h.Write(sum[:])
	}
	return hex.EncodeToString(h.Sum(nil)) + "-" + strconv.Itoa(len(parts))
}

func TestUploadInParts(t *testing.T) {
	w := newWorld(t)
	sizes := []int{20, 21, testBlock * testPage, testBlock*testPage + 1, 3*testBlock*testPage + 7, 33, 5}
	id := w.create(t, "k")
	var all []byte
	var contents [][]byte
	var parts []CompletePart
	for i, n := range sizes {
		data := content0(n)
		contents, all = append(contents, data), append(all, data...)
		parts = append(parts, w.part(t, "k", id, 3*i+1, data, "")) // with gaps
	}
	w.part(t, "k", id, 9999, content0(100), "") // not named at the end
	w.part(t, "k", id, 2, content0(100), "")
	w.wantsNone(t, "k")

	info, err := w.finishUpload("k", id, parts...)
	if err != nil {
		t.Fatal(err)
	}
	got := w.wants(t, "k", all)
	if want := multipartETag(contents...); got.ETag != want || info.ETag != want {
		t.Errorf("ETag %s, want %s", got.ETag, want)
	}
	if got.Version != id || got.PartCount != len(sizes) || got.Metadata.ContentType != "c/t" || got.Metadata.StorageClass != "COLD" {
		t.Errorf("%+v", got)
	}
	w.checkRanges(t, "k", all)
	for i, data := range contents {
		got, info := w.read(t, GetInput{Location: w.at("k"), PartNumber: 3*i + 1})
		if !bytes.Equal(got, data) || info.Part == nil || info.Part.Size != int64(len(data)) {
			t.Errorf("part %d: %d bytes, %+v", 3*i+1, len(got), info.Part)
		}
	}
	if _, _, err := w.Get(t.Context(), GetInput{Location: w.at("k"), PartNumber: 2}); !errors.Is(err, ErrInvalidPartNum) {
		t.Errorf("a part that is not there: %v", err)
	}
	w.isGone(t, "k", id)

	again, err := w.finishUpload("k", id, parts...)
	if err != nil || again.ETag != info.ETag || !again.Modified.Equal(info.Modified) {
		t.Errorf("completed again: %v, %+v", err, again)
	}
	if _, err := w.finishUpload("k", id, parts[1:]...); !errors.Is(err, ErrNoSuchUpload) {
		t.Errorf("completed again with other parts: %v", err)
	}
	w.put(t, "k", nil)
	if _, err := w.finishUpload("k", id, parts...); !errors.Is(err, ErrNoSuchUpload) {
		t.Errorf("completed again after it was replaced: %v", err)
	}
}

// isGone checks that nothing is left of an upload.
func (w *world) isGone(t *testing.T, key string, id object.VersionID) {
	t.Helper()
	for _, table := range []metaapi.Table{metaapi.Uploads, metaapi.Parts} {
		page, err := w.rows.Scan(t.Context(), metaapi.Range{Table: table, Bucket: w.bucket, Key: key, Limit: 100})
		if err != nil || len(page.Entries) != 0 {
			t.Errorf("%d rows left in table %d: %v", len(page.Entries), table, err)
		}
	}
	if _, err := w.UploadPart(t.Context(), PartInput{Location: w.at(key), Upload: id, Number: 1, Body: bodyOf(nil)}); !errors.Is(err, ErrNoSuchUpload) {
		t.Errorf("part of a gone upload: %v", err)
	}
	if _, err := w.ListParts(t.Context(), ListPartsInput{Location: w.at(key), Upload: id, Limit: 10}); !errors.Is(err, ErrNoSuchUpload) {
		t.Errorf("list of a gone upload: %v", err)
	}
	if err := w.AbortUpload(t.Context(), w.at(key), id); !errors.Is(err, ErrNoSuchUpload) {
		t.Errorf("abort of a gone upload: %v", err)
	}
}

func TestCompleteRefuses(t *testing.T) {
	w := newWorld(t)
	id := w.create(t, "k")
	one := w.part(t, "k", id, 1, content0(20), "")
	two := w.part(t, "k", id, 2, content0(19), "")
	three := w.part(t, "k", id, 3, content0(1), "")
	for name, c := range map[string]struct {
		parts []CompletePart
		size  int64
		want  error
	}{
		"order":    {[]CompletePart{two, one}, -1, ErrInvalidPartOrder},
		"twice":    {[]CompletePart{one, one}, -1, ErrInvalidPartOrder},
		"missing":  {[]CompletePart{one, {Number: 7, ETag: one.ETag}}, -1, ErrInvalidPart},
		"between":  {[]CompletePart{{Number: 0, ETag: one.ETag}, one}, -1, ErrInvalidPart},
		"etag":     {[]CompletePart{{Number: 1, ETag: two.ETag}}, -1, ErrInvalidPart},
		"checksum": {[]CompletePart{{Number: 1, ETag: one.ETag, Checksum: []byte("abcd")}}, -1, ErrInvalidPart},
		"small":    {[]CompletePart{one, two, three}, -1, ErrEntityTooSmall},
		"size":     {[]CompletePart{one, two}, 40, nil},
		"none":     {nil, -1, nil},
	} {
		_, err := w.CompleteUpload(t.Context(), CompleteInput{Location: w.at("k"), Upload: id, Parts: c.parts, Size: c.size})
		if !fault.Is(err, fault.Invalid) || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	w.put(t, "k", []byte("here"))
	_, err := w.CompleteUpload(t.Context(), CompleteInput{
		Location: w.at("k"), Upload: id, Parts: []CompletePart{one}, Size: -1, If: WriteConditions{IfNoneMatchAny: true},
	})
	if !fault.Is(err, fault.Precondition) {
		t.Errorf("condition: %v", err)
	}
	// After all those failures the upload is as it was.
	if _, err := w.finishUpload("k", id, one, three); err != nil {
		t.Error(err)
	}
	w.wants(t, "k", append(content0(20), content0(1)...))
}

func TestPartNumbersAndStrangers(t *testing.T) {
	w := newWorld(t)
	id := w.create(t, "k")
	for _, n := range []int{-1, 0, 10001} {
		_, err := w.UploadPart(t.Context(), PartInput{Location: w.at("k"), Upload: id, Number: n, Body: bodyOf(nil)})
		if !fault.Is(err, fault.Invalid) {
			t.Errorf("part %d: %v", n, err)
		}
	}
	w.isGone(t, "other", id)
	if _, err := w.finishUpload("other", id, CompletePart{Number: 1}); !errors.Is(err, ErrNoSuchUpload) {
		t.Error(err)
	}
}

func TestChecksumsOfUploads(t *testing.T) {
	contents := [][]byte{content0(40), content0(100), content0(3)}
	whole := slices.Concat(contents...)
	for _, a := range []ChecksumAlgorithm{CRC32, CRC32C, CRC64NVME, SHA1, SHA256} {
		for _, full := range []bool{false, true} {
			w := newWorld(t)
			in := CreateUploadInput{Location: w.at("k"), Checksum: a, FullObject: full}
			id, err := w.CreateUpload(t.Context(), in)
			if impossible := full && (a == SHA1 || a == SHA256) || !full && a == CRC64NVME; impossible {
				if !fault.Is(err, fault.Invalid) {
					t.Errorf("%s, full %v: %v", a, full, err)
				}
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			var parts []CompletePart
			composite := checksum.Algorithm(a).New()
			for i, data := range contents {
				parts = append(parts, w.part(t, "k", id, i+1, data, a))
				composite.Write(parts[i].Checksum)
			}
			h := checksum.Algorithm(a).New()
			h.Write(whole)
			want := Checksum{Algorithm: a, Value: composite.Sum(nil), Composite: true, Parts: 3}
			if full {
				want = Checksum{Algorithm: a, Value: h.Sum(nil)}
			}
			wrong := want
			wrong.Value = append([]byte{want.Value[0] ^ 1}, want.Value[1:]...)
			complete := CompleteInput{Location: w.at("k"), Upload: id, Parts: parts, Size: int64(len(whole)), Checksum: wrong}
			if _, err := w.CompleteUpload(t.Context(), complete); !errors.Is(err, ErrBadDigest) {
				t.Errorf("%s, full %v, wrong value: %v", a, full, err)
			}
			complete.Checksum = want
			if _, err := w.CompleteUpload(t.Context(), complete); err != nil {
				t.Fatalf("%s, full %v: %v", a, full, err)
			}
			got := w.wants(t, "k", whole)
			if c := got.Checksum; c.Algorithm != a || !bytes.Equal(c.Value, want.Value) || c.Composite == full || c.Parts != want.Parts {
				t.Errorf("%s, full %v: %+v, want %+v", a, full, c, want)
			}
			_, info := w.read(t, GetInput{Location: w.at("k"), PartNumber: 2})
			if !bytes.Equal(info.Part.Checksum.Value, parts[1].Checksum) {
				t.Errorf("part's checksum %+v", info.Part.Checksum)
			}
			w.recopied(t, whole)
		}
	}
}

// recopied copies "k" with a checksum of another algorithm.
func (w *world) recopied(t *testing.T, whole []byte) {
	t.Helper()
	_, err := w.Copy(t.Context(), CopyInput{Source: w.at("k"), Target: w.at("k2"), Checksum: SHA256})
	if err != nil {
		t.Fatal(err)
	}
	w.wants(t, "k2", whole)
}

func TestPartWithoutTheUploadsChecksumIsRefused(t *testing.T) {
	w := newWorld(t)
	id := w.create(t, "k", func(in *CreateUploadInput) { in.Checksum = CRC32 })
	_, err := w.UploadPart(t.Context(), PartInput{Location: w.at("k"), Upload: id, Number: 1, Body: bodyOf(content0(30))})
	if !fault.Is(err, fault.Invalid) {
		t.Error(err)
	}
}

func TestReuploadedPartCountsLast(t *testing.T) {
	w := newWorld(t)
	id := w.create(t, "k")
	first := w.part(t, "k", id, 1, content0(50), "")
	second := w.part(t, "k", id, 1, content0(51), "")
	if len(w.hints) != 1 {
		t.Errorf("%d hints about the part that was replaced", len(w.hints))
	}
	if _, err := w.finishUpload("k", id, first); !errors.Is(err, ErrInvalidPart) {
		t.Errorf("the old part: %v", err)
	}
	if _, err := w.finishUpload("k", id, second); err != nil {
		t.Fatal(err)
	}
	w.wants(t, "k", content0(51))
}

func TestListParts(t *testing.T) {
	w := newWorld(t)
	id, other := w.create(t, "k"), w.create(t, "k")
	for n := 1; n <= 7; n++ {
		w.part(t, "k", id, n*n, content0(n), "")
		w.part(t, "k", other, n, content0(n), "")
	}
	var got []int
	in := ListPartsInput{Location: w.at("k"), Upload: id, Limit: 3}
	for pages := 1; ; pages++ {
		l, err := w.ListParts(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range l.Parts {
			got = append(got, p.Number)
		}
		if l.Initiator != "me" || len(l.Parts) > 3 {
			t.Errorf("%+v", l)
		}
		if in.After = l.Next; !l.More {
			if pages != 3 {
				t.Errorf("%d pages", pages)
			}
			break
		}
	}
	if !slices.Equal(got, []int{1, 4, 9, 16, 25, 36, 49}) {
		t.Error(got)
	}
	if l, err := w.ListParts(t.Context(), ListPartsInput{Location: w.at("k"), Upload: id}); err != nil || l.More || l.Parts != nil {
		t.Errorf("limit 0: %+v, %v", l, err)
	}
}

func TestManyPartsFitARow(t *testing.T) {
	body := record.ObjectBody{Kind: record.InParts, Checksum: make([]byte, 32)}
	for n := range MaxParts {
		body.Parts = append(body.Parts, record.PartRef{
			Number: n + 1, Checksum: make([]byte, 32),
			Manifest: record.Manifest{Size: MaxPartBytes, BlockBytes: 1 << 20, PageBlocks: 1024},
		})
	}
	if n := len(body.Append(nil, record.SHA256)); n > 900<<10 {
		t.Errorf("a row of %d bytes", n)
	}
}

func TestListUploads(t *testing.T) {
	w := newWorld(t)
	type made struct {
		key string
		id  object.VersionID
	}
	var all []made
	for _, key := range []string{"a", "a", "a", "b/1", "b/2", "b/2", "c"} {
		all = append(all, made{key, w.create(t, key)})
	}
	slices.SortFunc(all, func(x, y made) int {
		return cmp.Or(strings.Compare(x.key, y.key), bytes.Compare(x.id[:], y.id[:]))
	})
	for limit := 1; limit <= 8; limit++ {
		var got []made
		in := ListUploadsInput{Bucket: w.bucket, Limit: limit}
		for {
			l, err := w.ListUploads(t.Context(), in)
			if err != nil {
				t.Fatal(err)
			}
			for _, u := range l.Uploads {
				got = append(got, made{u.Key, u.ID})
			}
			if in.AfterKey, in.AfterUpload = l.NextKey, l.NextUpload; !l.More {
				break
			}
		}
		if !slices.Equal(got, all) {
			t.Fatalf("limit %d: %v, want %v", limit, got, all)
		}
	}
	l, err := w.ListUploads(t.Context(), ListUploadsInput{Bucket: w.bucket, AfterKey: "a", Delimiter: "/", Limit: 10})
	if err != nil || len(l.Uploads) != 1 || l.Uploads[0].Key != "c" || !slices.Equal(l.Prefixes, []string{"b/"}) {
		t.Errorf("after a: %+v, %v", l, err)
	}
	l, err = w.ListUploads(t.Context(), ListUploadsInput{Bucket: w.bucket, AfterKey: "b/", Delimiter: "/", Limit: 10})
	if err != nil || len(l.Uploads) != 1 || l.Uploads[0].Key != "c" || l.Prefixes != nil {
		t.Errorf("after b/: %+v, %v", l, err)
	}
	if _, err = w.ListUploads(t.Context(), ListUploadsInput{Bucket: w.bucket, AfterKey: "b", AfterUpload: "x", Limit: 1}); !fault.Is(err, fault.Invalid) {
		t.Errorf("bad marker: %v", err)
	}
}

func TestAbort(t *testing.T) {
	w := newWorld(t)
	id, other := w.create(t, "k"), w.create(t, "k")
	w.part(t, "k", id, 1, content0(50), "")
	keep := w.part(t, "k", other, 1, content0(51), "")
	if err := w.AbortUpload(t.Context(), w.at("k"), id); err != nil {
		t.Fatal(err)
	}
	if _, err := w.finishUpload("k", id, CompletePart{Number: 1}); !errors.Is(err, ErrNoSuchUpload) {
		t.Error(err)
	}
	if _, err := w.finishUpload("k", other, keep); err != nil {
		t.Fatal(err)
	}
	w.isGone(t, "k", id)
	w.wants(t, "k", content0(51))
}

// While one request ends an upload no other may, and when its time is up they
// may again.
func TestOneEndsAnUpload(t *testing.T) {
	w := newWorld(t)
	id := w.create(t, "k")
	part := w.part(t, "k", id, 1, content0(50), "")
	crash := errors.New("the gateway died")
	w.rows.spoil(func(op string, key metaapi.RowKey) error {
		if key.Table == metaapi.Objects && op != "get" || key.Table == metaapi.Uploads && op == "update" && len(w.hints) > 0 {
			return crash
		}
		if key.Table == metaapi.Objects {
			w.hint(hint{}) // from now on the upload cannot be given up either
		}
		return nil
	})
	if _, err := w.finishUpload("k", id, part); !errors.Is(err, crash) {
		t.Fatal(err)
	}
	w.rows.spoil(nil)
	if _, err := w.finishUpload("k", id, part); !fault.Is(err, fault.Unavailable) {
		t.Errorf("completed by two: %v", err)
	}
	if err := w.AbortUpload(t.Context(), w.at("k"), id); !fault.Is(err, fault.Unavailable) {
		t.Errorf("aborted while being completed: %v", err)
	}
	w.pass(record.HoldTime + time.Second)
	if _, err := w.finishUpload("k", id, part); err != nil {
		t.Error(err)
	}
	w.wants(t, "k", content0(50))
}

// A completion that wrote the object and died is finished by the next one.
func TestCompletionIsFinishedByTheNext(t *testing.T) {
	w := newWorld(t)
	id := w.create(t, "k")
	part := w.part(t, "k", id, 1, content0(50), "")
	two := w.part(t, "k", id, 2, content0(50), "")
	w.rows.spoil(func(op string, key metaapi.RowKey) error {
		if key.Table == metaapi.Uploads && op == "put" || key == record.PartKey(w.bucket, "k", id, 2) {
			return errors.New("the gateway died")
		}
		return nil
	})
	if _, err := w.finishUpload("k", id, part, two); err != nil {
		t.Fatal(err)
	}
	w.rows.spoil(nil)
	w.pass(record.HoldTime + time.Second)
	if _, err := w.finishUpload("k", id, part, two); err != nil {
		t.Fatal(err)
	}
	w.isGone(t, "k", id)
	w.wants(t, "k", append(content0(50), content0(50)...))
}

// Uploads of parts, completions and aborts at once: whoever was told that the
// object is complete finds it whole, and the verifier never calls it dead.
func TestRacesOfAnUpload(t *testing.T) {
	for round := range 60 {
		w := newWorld(t)
		id := w.create(t, "k")
		data := content0(50)
		part := w.part(t, "k", id, 1, data, "")
		var group sync.WaitGroup
		var mu sync.Mutex
		completed, aborted := 0, 0
		for i := range 3 {
			group.Go(func() {
				if _, err := w.finishUpload("k", id, part); err == nil {
					mu.Lock()
					completed++
					mu.Unlock()
				} else if !fault.Is(err, fault.Unavailable) && !errors.Is(err, ErrNoSuchUpload) && !errors.Is(err, ErrInvalidPart) {
					t.Errorf("complete: %v", err)
				}
			})
			group.Go(func() { // the same content again: a new manifest, the same ETag
				_, err := w.UploadPart(context.Background(), PartInput{Location: w.at("k"), Upload: id, Number: 1, Body: bodyOf(data)})
				if err != nil && !errors.Is(err, ErrNoSuchUpload) {
					t.Errorf("part: %v", err)
				}
			})
			if i == 0 && round%2 == 0 {
				group.Go(func() {
					if err := w.AbortUpload(context.Background(), w.at("k"), id); err == nil {
						mu.Lock()
						aborted++
						mu.Unlock()
					}
				})
			}
		}
		group.Wait()
		w.pass(72 * time.Hour)
		w.sweepAll(t)
		if completed > 0 {
			w.wants(t, "k", data)
		}
		if completed > 0 && aborted > 0 {
			t.Error("both completed and aborted")
		}
		if completed+aborted > 0 {
			w.isGone(t, "k", id)
		}
	}
}

func (w *world) sweepAll(t *testing.T) {
	t.Helper()
	for after, more := "", true; more; {
		var err error
		if after, more, err = w.Sweep(t.Context(), w.bucket, after); err != nil {
			t.Fatal(err)
		}
	}
}

func TestUploadPartCopy(t *testing.T) {
	w := newWorld(t)
	source := content0(200)
	info := w.put(t, "source", source)
	id := w.create(t, "k", func(in *CreateUploadInput) { in.Checksum = CRC32C })
	copyPart := func(n int, r *Range, c ReadConditions) (PartInfo, error) {
		return w.UploadPartCopy(t.Context(), PartCopyInput{
			Location: w.at("k"), Upload: id, Number: n, Source: w.at("source"), SourceIf: c, Range: r,
		})
	}
	one, err := copyPart(1, nil, ReadConditions{IfMatch: info.ETag})
	if err != nil || one.ETag != info.ETag || one.Checksum.Algorithm != CRC32C {
		t.Fatalf("%+v, %v", one, err)
	}
	two, err := copyPart(2, &Range{17, 117}, ReadConditions{})
	if err != nil || two.ETag != fmt.Sprintf("%x", md5.Sum(source[17:118])) {
		t.Fatalf("%+v, %v", two, err)
	}
	if _, err := copyPart(3, &Range{17, 200}, ReadConditions{}); !errors.Is(err, ErrInvalidRange) {
		t.Errorf("past the end: %v", err)
	}
	if _, err := copyPart(3, nil, ReadConditions{IfNoneMatch: info.ETag}); !fault.Is(err, fault.Precondition) || errors.Is(err, ErrNotModified) {
		t.Errorf("condition: %v", err)
	}
	if _, err := w.finishUpload("k", id, CompletePart{Number: 1, ETag: one.ETag}, CompletePart{Number: 2, ETag: two.ETag}); err != nil {
		t.Fatal(err)
	}
	w.wants(t, "k", append(slices.Clone(source), source[17:118]...))
}
