package blockrpc

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"hangar/shared/blockapi"
	"hangar/shared/blockapi/blocktest"
	"hangar/shared/fault"
	"hangar/shared/object"
	"hangar/shared/rpc"
)

func TestWireRoundTrips(t *testing.T) {
	o, b := blocktest.Owner(), blocktest.BlockOf(blocktest.Random(10))
	b.Encoding = blockapi.Zstd
	m, err := putToWire(7, o, b)
	if err != nil {
		t.Fatal(err)
	}
	epoch, gotOwner, gotBlock, err := putFromWire(m)
	if err != nil || epoch != 7 || gotOwner != o || gotBlock.Hash != b.Hash || gotBlock.Encoding != b.Encoding || gotBlock.PlainBytes != b.PlainBytes {
		t.Fatalf("%+v %+v %v", gotOwner, gotBlock, err)
	}
	for _, manifest := range []object.ManifestID{{}, o.Manifest} {
		want := blockapi.Released{Bucket: o.Bucket, Key: o.Key, Version: o.Version, Manifest: manifest}
		m, err := releaseToWire(want)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := releaseFromWire(m); err != nil || got != want {
			t.Fatalf("%+v %v", got, err)
		}
	}
}

func TestPagesRoundTrip(t *testing.T) {
	one, two := blocktest.Owner(), blocktest.Owner()
	want := []blockapi.Entry{
		{Hash: object.Hash{1}, StoredBytes: 5, Owners: []blockapi.Owner{one, two}},
		{Hash: object.Hash{2}, StoredBytes: 6, Owners: []blockapi.Owner{two}},
		{Hash: object.Hash{3}},
	}
	w := entriesToWire(want)
	if len(w.GetOwners()) != 2 {
		t.Errorf("%d owners are sent, want each once", len(w.GetOwners()))
	}
	got, err := entriesFromWire(w)
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
	w.Entries[1].Owners = []uint32{2}
	if _, err := entriesFromWire(w); !fault.Is(err, fault.Invalid) {
		t.Errorf("an owner that is not in the list: %v", err)
	}
}

// FuzzHeads feeds arbitrary bytes to every decoder: nothing panics, and what is
// refused is refused as Invalid.
func FuzzHeads(f *testing.F) {
	m, err := putToWire(1, blocktest.Owner(), blocktest.BlockOf([]byte("x")))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(m.Head)
	f.Fuzz(func(t *testing.T, head []byte) {
		m := rpc.Message{Head: head}
		_, _, _, put := putFromWire(m)
		_, release := releaseFromWire(m)
		_, got := gotFromWire(object.Hash{}, m)
		_, hashes := hashesFromWire(head)
		for _, err := range []error{put, release, got, hashes} {
			if err != nil && !fault.Is(err, fault.Invalid) {
				t.Fatalf("refused with %v", err)
			}
		}
	})
}
