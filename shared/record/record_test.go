package record

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"hangar/shared/fault"
	"hangar/shared/object"
)

var when = time.UnixMilli(1767323045678).UTC()

func digest(a Algorithm) []byte {
	if a == NoChecksum {
		return nil
	}
	return bytes.Repeat([]byte{7}, a.Bytes())
}

func someManifest(size int64) Manifest {
	return Manifest{ID: object.NewManifestID(), Size: size, BlockBytes: 1 << 20, PageBlocks: 1024}
}

func someBodies() map[string]ObjectBody {
	meta := Metadata{ContentType: "a/b", WebsiteRedirect: "/x", User: map[string]string{"ü": "", "a": "b"}}
	m := someManifest(3<<20 - 1)
	return map[string]ObjectBody{
		"empty":  {Kind: Inline, Data: []byte{}},
		"inline": {Kind: Inline, Data: []byte("content"), Metadata: meta},
		"listed": {Kind: Listed, Manifest: m, Hashes: make([]byte, 3*32), Metadata: meta},
		"paged":  {Kind: Paged, Manifest: someManifest(5 << 40), Metadata: meta},
		"parts": {Kind: InParts, Metadata: meta, Parts: []PartRef{
			{Number: 1, Manifest: someManifest(5 << 20)}, {Number: MaxPart, Manifest: someManifest(0)},
		}},
	}
}

func sizeOf(b ObjectBody) int64 {
	size := int64(len(b.Data)) + b.Manifest.Size
	for _, p := range b.Parts {
		size += p.Manifest.Size
	}
	return size
}

func TestObjectRoundTrip(t *testing.T) {
	for name, body := range someBodies() {
		for a := NoChecksum; a <= SHA256; a++ {
			head := ObjectHead{
				Version: object.NewVersionID(), Size: sizeOf(body), Modified: when, MD5: [16]byte{1}, Parts: len(body.Parts),
				Checksum: a, Composite: a == SHA1, StorageClass: "GLACIER", Blocks: body.Kind != Inline, Manifests: body.Kind == Paged,
			}
			gotHead, err := DecodeObjectHead(head.Append(nil))
			if err != nil || gotHead != head {
				t.Fatalf("%s: %+v, %v, want %+v", name, gotHead, err, head)
			}
			body.Checksum = digest(a)
			body.Metadata.StorageClass = head.StorageClass
			for i := range body.Parts {
				body.Parts[i].Checksum = digest(a)
			}
			encoded := body.Append(nil, a)
			got, err := DecodeObjectBody(head, encoded)
			if err != nil || !reflect.DeepEqual(got, body) {
				t.Fatalf("%s: %+v, %v, want %+v", name, got, err, body)
			}
			if body.Kind == Inline {
				row, room := NewInline(body.Metadata, len(body.Data))
				capacity := cap(row)
				copy(room, body.Data)
				row = FinishInline(row, a, body.Checksum)
				if !bytes.Equal(row, encoded) || cap(row) != capacity {
					t.Errorf("%s: NewInline gives another row, or too little room", name)
				}
			}
			for n := range encoded {
				if _, err := DecodeObjectBody(head, encoded[:n]); !fault.Is(err, fault.Corrupt) {
					t.Fatalf("%s cut at %d of %d: %v", name, n, len(encoded), err)
				}
			}
		}
	}
}

func TestOthersRoundTrip(t *testing.T) {
	upload := UploadHead{Started: when, Initiator: "GK1", Checksum: CRC32C, FullObject: true, CompletingUntil: when}
	for _, h := range []UploadHead{upload, {Started: when}} {
		got, err := DecodeUploadHead(h.Append(nil))
		if err != nil || got != h {
			t.Errorf("%+v, %v", got, err)
		}
	}
	meta := Metadata{ContentLanguage: "de", StorageClass: "X"}
	if got, err := DecodeUploadBody(AppendUploadBody(nil, meta)); err != nil || !reflect.DeepEqual(got, meta) {
		t.Errorf("%+v, %v", got, err)
	}
	part := PartHead{MD5: [16]byte{9}, Manifest: someManifest(77), Modified: when, Blocks: true, Checksum: SHA1, Digest: digest(SHA1)}
	if got, err := DecodePartHead(part.Append(nil)); err != nil || !reflect.DeepEqual(got, part) {
		t.Errorf("%+v, %v", got, err)
	}
	manifest := ManifestHead{Key: "ü/k", Version: object.NewVersionID(), Part: 3, Written: when}
	if got, err := DecodeManifestHead(manifest.Append(nil)); err != nil || got != manifest {
		t.Errorf("%+v, %v", got, err)
	}
	for _, p := range []Page{{Hashes: make([]byte, 64)}, {Data: []byte{}}, {Data: []byte("abc")}} {
		if got, err := DecodePage(p.Append(nil)); err != nil || !reflect.DeepEqual(got, p) {
			t.Errorf("%+v, %v", got, err)
		}
	}
	if got, err := DecodeClaim(Claim{when}.Append(nil)); err != nil || got.Until != when {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestKeys(t *testing.T) {
	b, v := object.NewBucketID(), object.NewVersionID()
	m := NewManifestID(v, 258)
	if ManifestPrefix(v) != string(m[:8]) || m[8] != 1 || m[9] != 2 || m == NewManifestID(v, 258) {
		t.Errorf("manifest %s of version %s", m, v)
	}
	got, page, err := ParseManifestKey(ManifestKey(b, m, 70000).Key)
	if err != nil || got != m || page != 70000 {
		t.Errorf("%s page %d, %v", got, page, err)
	}
	if n, ok := ParsePartSub(v, PartSub(v, 9999)); !ok || n != 9999 {
		t.Error(n, ok)
	}
	if _, ok := ParsePartSub(v, ClaimKey(b, "k", m).Sub); ok {
		t.Error("a claim was taken for a part")
	}
	if _, ok := ParsePartSub(object.NewVersionID(), PartSub(v, 1)); ok {
		t.Error("another upload's part was taken")
	}
	if id, err := ParseUploadSub(UploadKey(b, "k", v).Sub); err != nil || id != v {
		t.Error(id, err)
	}
	for _, bad := range []string{"", "short", PartSub(v, 1)} {
		if _, err := ParseUploadSub(bad); err == nil {
			t.Errorf("%q was taken for an upload", bad)
		}
		if _, _, err := ParseManifestKey(bad); err == nil {
			t.Errorf("%q was taken for a manifest", bad)
		}
	}
}

func TestManifestCounts(t *testing.T) {
	for size, want := range map[int64][2]int64{0: {0, 1}, 1: {1, 1}, 10: {1, 1}, 11: {2, 1}, 30: {3, 1}, 31: {4, 2}, 61: {7, 3}} {
		m := Manifest{Size: size, BlockBytes: 10, PageBlocks: 3}
		if m.Blocks() != want[0] || int64(m.Pages()) != want[1] {
			t.Errorf("%d bytes: %d blocks, %d pages", size, m.Blocks(), m.Pages())
		}
	}
}

// FuzzDecode feeds every decoder. What one accepts, its encoder writes again
// byte for byte: there is one form of each record.
func FuzzDecode(f *testing.F) {
	heads := map[string]ObjectHead{}
	for name, body := range someBodies() {
		head := ObjectHead{Size: sizeOf(body), Modified: when, Checksum: CRC32}
		body.Checksum = digest(CRC32)
		heads[name] = head
		f.Add(body.Append(nil, CRC32))
		f.Add(head.Append(nil))
	}
	f.Add(UploadHead{Started: when, CompletingUntil: when}.Append(nil))
	f.Add(AppendUploadBody(nil, Metadata{User: map[string]string{"a": "b", "c": "d"}}))
	f.Add(PartHead{Manifest: someManifest(1), Modified: when}.Append(nil))
	f.Add(ManifestHead{Key: "k", Written: when}.Append(nil))
	f.Add(Page{Hashes: make([]byte, 32)}.Append(nil))
	f.Add(Claim{when}.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		same := func(what string, err error, again func() []byte) {
			if err == nil && !bytes.Equal(again(), b) {
				t.Fatalf("%s: %x was read, %x is written", what, b, again())
			}
			if err != nil && !fault.Is(err, fault.Corrupt) {
				t.Fatalf("%s: %v", what, err)
			}
		}
		oh, err := DecodeObjectHead(b)
		same("object head", err, func() []byte { return oh.Append(nil) })
		uh, err := DecodeUploadHead(b)
		same("upload head", err, func() []byte { return uh.Append(nil) })
		ub, err := DecodeUploadBody(b)
		same("upload body", err, func() []byte { return AppendUploadBody(nil, ub) })
		ph, err := DecodePartHead(b)
		same("part", err, func() []byte { return ph.Append(nil) })
		mh, err := DecodeManifestHead(b)
		same("manifest head", err, func() []byte { return mh.Append(nil) })
		p, err := DecodePage(b)
		same("page", err, func() []byte { return p.Append(nil) })
		c, err := DecodeClaim(b)
		same("claim", err, func() []byte { return c.Append(nil) })
		for name, head := range heads {
			ob, err := DecodeObjectBody(head, b)
			same(fmt.Sprint("object body ", name), err, func() []byte { return ob.Append(nil, head.Checksum) })
			if err == nil && ob.Kind == InParts && !slices.IsSortedFunc(ob.Parts, func(x, y PartRef) int { return x.Number - y.Number }) {
				t.Fatal("parts out of order")
			}
		}
	})
}
