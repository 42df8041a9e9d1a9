package blockrpc

import (
	"testing"

	"hangar/shared/blockapi"
	"hangar/shared/blockapi/blocktest"
	"hangar/shared/fault"
	"hangar/shared/object"
	"hangar/shared/rpc"
)

func TestWireRoundTrips(t *testing.T) {
	o, b := blocktest.Owner(), blocktest.BlockOf(blocktest.Random(10))
	b.Encoding = blockapi.Zstd
	m, err := putToWire(o, b)
	if err != nil {
		t.Fatal(err)
	}
	gotOwner, gotBlock, err := putFromWire(m)
	if err != nil || gotOwner != o || gotBlock.Hash != b.Hash || gotBlock.Encoding != b.Encoding || gotBlock.PlainBytes != b.PlainBytes {
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

// FuzzHeads feeds arbitrary bytes to every decoder: nothing panics, and what is
// refused is refused as Invalid.
func FuzzHeads(f *testing.F) {
	m, err := putToWire(blocktest.Owner(), blocktest.BlockOf([]byte("x")))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(m.Head)
	f.Fuzz(func(t *testing.T, head []byte) {
		m := rpc.Message{Head: head}
		_, _, put := putFromWire(m)
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
