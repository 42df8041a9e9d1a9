package objects

import (
	"bytes"
	"errors"
	"testing"

	"hangar/services/gateway/internal/checksum"
	"hangar/shared/fault"
	"hangar/shared/metaapi"
	"hangar/shared/object"
	"hangar/shared/record"
)

func TestCopy(t *testing.T) {
	for _, n := range edges() {
		w := newWorld(t)
		data := content0(n)
		source, err := w.Put(t.Context(), PutInput{
			Location: w.at("from"), Body: summedBody(data, CRC32), Metadata: Metadata{ContentType: "a/b"},
		})
		if err != nil {
			t.Fatal(err)
		}
		blocks := w.blocks.Len()
		if _, err := w.Copy(t.Context(), CopyInput{Source: w.at("from"), Target: w.at("to")}); err != nil {
			t.Fatalf("%d bytes: %v", n, err)
		}
		if w.blocks.Len() != blocks {
			t.Errorf("%d bytes: the copy has blocks of its own", n)
		}
		w.dropped(t, "from")
		got := w.wants(t, "to", data)
		if got.ETag != source.ETag || got.Version == source.Version || got.Metadata.ContentType != "a/b" ||
			!bytes.Equal(got.Checksum.Value, source.Checksum.Value) {
			t.Errorf("%d bytes: %+v", n, got)
		}
		w.checkRangesUnlessEmpty(t, "to", data)
	}
}

func (w *world) checkRangesUnlessEmpty(t *testing.T, key string, data []byte) {
	t.Helper()
	if len(data) > 0 {
		w.checkRanges(t, key, data)
	}
}

// dropped removes an object with its manifest rows.
func (w *world) dropped(t *testing.T, key string) {
	t.Helper()
	if err := w.Delete(t.Context(), w.at(key), WriteConditions{}); err != nil {
		t.Fatal(err)
	}
	w.pass(w.cfg.SweepAge)
	w.sweepAll(t)
}

func TestCopyOfAnUploadInParts(t *testing.T) {
	w := newWorld(t)
	id := w.create(t, "from")
	a, b := content0(3*testBlock*testPage+1), content0(4)
	parts := []CompletePart{w.part(t, "from", id, 2, a, ""), w.part(t, "from", id, 5, b, "")}
	source, err := w.finishUpload("from", id, parts...)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Copy(t.Context(), CopyInput{Source: w.at("from"), Target: w.at("to"), Metadata: &Metadata{ContentType: "new"}}); err != nil {
		t.Fatal(err)
	}
	w.dropped(t, "from")
	got := w.wants(t, "to", append(bytes.Clone(a), b...))
	if got.ETag != source.ETag || got.PartCount != 2 || got.Metadata.ContentType != "new" {
		t.Errorf("%+v", got)
	}
	if part, _ := w.read(t, GetInput{Location: w.at("to"), PartNumber: 5}); !bytes.Equal(part, b) {
		t.Error("part 5 differs")
	}
}

func TestCopyOntoItself(t *testing.T) {
	for _, n := range edges() {
		w := newWorld(t)
		data := content0(n)
		before := w.put(t, "k", data)
		self := CopyInput{Source: w.at("k"), Target: w.at("k")}
		if _, err := w.Copy(t.Context(), self); !errors.Is(err, ErrCopySelf) {
			t.Errorf("without change: %v", err)
		}
		self.Metadata = &Metadata{User: map[string]string{"mtime": "1"}}
		if _, err := w.Copy(t.Context(), self); err != nil {
			t.Fatal(err)
		}
		w.pass(w.cfg.SweepAge)
		w.sweepAll(t)
		after := w.wants(t, "k", data)
		if after.ETag != before.ETag || after.Metadata.User["mtime"] != "1" {
			t.Errorf("%+v", after)
		}
		self.Metadata, self.Checksum = nil, SHA1
		if _, err := w.Copy(t.Context(), self); err != nil {
			t.Fatal(err)
		}
		h := checksum.SHA1.New()
		h.Write(data)
		after = w.wants(t, "k", data)
		if !bytes.Equal(after.Checksum.Value, h.Sum(nil)) || after.Metadata.User["mtime"] != "1" {
			t.Errorf("%+v", after)
		}
		if len(w.hints) != 0 {
			t.Errorf("%d hints that a living object died", len(w.hints))
		}
	}
}

func TestCopyConditions(t *testing.T) {
	w := newWorld(t)
	info := w.put(t, "from", content0(100))
	w.put(t, "to", nil)
	for name, in := range map[string]CopyInput{
		"if-match":      {SourceIf: ReadConditions{IfMatch: "x"}},
		"if-none-match": {SourceIf: ReadConditions{IfNoneMatch: info.ETag}},
		"target":        {If: WriteConditions{IfNoneMatchAny: true}},
	} {
		in.Source, in.Target = w.at("from"), w.at("to")
		if _, err := w.Copy(t.Context(), in); !fault.Is(err, fault.Precondition) || errors.Is(err, ErrNotModified) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := w.Copy(t.Context(), CopyInput{Source: w.at("none"), Target: w.at("to")}); !errors.Is(err, ErrNoSuchKey) {
		t.Error(err)
	}
	w.wants(t, "to", nil)
}

// The source is replaced and its blocks are collected during the copy: the
// copy is of the new source.
func TestCopyOfAChangingSource(t *testing.T) {
	for _, onto := range []string{"to", "from"} {
		w := newWorld(t)
		w.put(t, "from", content0(100))
		done := false
		change := func() {
			if !done {
				done = true
				w.put(t, "from", content0(101))
			}
		}
		if onto == "to" {
			w.blocks.FailWith(func(op string) error {
				if op == "reference" && !done {
					done = true
					return fault.New(fault.NotFound, "collected")
				}
				return nil
			})
			w.rows.spoil(func(op string, key metaapi.RowKey) error {
				if done && op == "get" && key.Key == "from" {
					w.rows.spoil(nil)
					w.put(t, "from", content0(101))
				}
				return nil
			})
		} else {
			w.rows.spoil(func(op string, key metaapi.RowKey) error {
				if op == "update" {
					w.rows.spoil(nil)
					change()
				}
				return nil
			})
		}
		in := CopyInput{Source: w.at("from"), Target: w.at(onto), Metadata: &Metadata{ContentType: "x"}}
		if _, err := w.Copy(t.Context(), in); err != nil {
			t.Fatal(err)
		}
		if info := w.wants(t, onto, content0(101)); info.Metadata.ContentType != "x" {
			t.Errorf("%+v", info)
		}
	}
}

func TestCopyOfLostContent(t *testing.T) {
	w := newWorld(t)
	w.put(t, "from", content0(100))
	w.blocks.FailWith(func(op string) error {
		if op == "reference" {
			return fault.New(fault.NotFound, "lost")
		}
		return nil
	})
	if _, err := w.Copy(t.Context(), CopyInput{Source: w.at("from"), Target: w.at("to")}); !fault.Is(err, fault.Corrupt) {
		t.Error(err)
	}
	w.wantsNone(t, "to")
	if len(w.hints) != copyAttempts {
		t.Errorf("%d hints", len(w.hints))
	}
}

func TestCopyLimit(t *testing.T) {
	w := newWorld(t)
	w.forge(t, "from", MaxPartBytes+1)
	_, err := w.Copy(t.Context(), CopyInput{Source: w.at("from"), Target: w.at("to")})
	if !errors.Is(err, ErrEntityTooLarge) {
		t.Error(err)
	}
}

// forge writes the row of a large object whose content is nowhere.
func (w *world) forge(t *testing.T, key string, size int64) {
	t.Helper()
	head := record.ObjectHead{Version: object.NewVersionID(), Size: size, Modified: w.clock(), Blocks: true, Manifests: true}
	body := record.ObjectBody{Kind: record.Paged, Manifest: w.manifest(object.NewManifestID(), size)}
	_, err := w.rows.Put(t.Context(), record.ObjectKey(w.bucket, key), objectValue(head, body.Append(nil, head.Checksum)))
	if err != nil {
		t.Fatal(err)
	}
}

// A bucket that is shut during a copy is not missing content.
func TestCopyIntoABucketThatIsShut(t *testing.T) {
	shut := fault.New(fault.NotFound, "no such bucket")
	asked := 0
	w := newWorld(t, func(c *Config) {
		c.MayWrite = func(object.BucketID) error {
			if asked++; asked > 1 {
				return shut
			}
			return nil
		}
	})
	w.put(t, "from", content0(50))
	_, err := w.Copy(t.Context(), CopyInput{Source: w.at("from"), Target: w.at("to")})
	if !errors.Is(err, shut) || !fault.Is(err, fault.NotFound) {
		t.Errorf("got %v", err)
	}
	if asked != 2 {
		t.Errorf("asked %d times", asked)
	}
}
