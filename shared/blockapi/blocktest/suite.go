package blocktest

import (
	"bytes"
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"hangar/shared/blockapi"
	"hangar/shared/blockapi/blockcodec"
	"hangar/shared/fault"
	"hangar/shared/object"
)

// Owner returns an owner like no other.
func Owner() blockapi.Owner {
	return blockapi.Owner{
		Bucket:   object.NewBucketID(),
		Key:      "photos/2026/é.jpg",
		Version:  object.NewVersionID(),
		Manifest: object.NewManifestID(),
		Part:     rand.Int32N(10_001),
	}
}

// Random returns n bytes that do not compress.
func Random(n int) []byte {
	p := make([]byte, n)
	src := rand.NewChaCha8([32]byte{byte(rand.Uint32()), byte(rand.Uint32()), byte(rand.Uint32()), byte(rand.Uint32())})
	_, _ = src.Read(p) // never fails
	return p
}

// Text returns n bytes that compress well and are like no other.
func Text(n int) []byte {
	seed := Random(16)
	return bytes.Repeat(append([]byte("a line of a log, as there are many "), seed...), n/51+1)[:n]
}

// BlockOf returns plain as an unencoded block.
func BlockOf(plain []byte) blockapi.Block {
	return blockapi.Block{Hash: blockcodec.Hash(plain), PlainBytes: int64(len(plain)), Data: plain}
}

var sizes = []int{1, 100, 4 << 10, 64<<10 + 1, 1 << 20}

// RunStore checks that what open returns keeps the contract of blockapi.Store.
func RunStore(t *testing.T, open func(t *testing.T) blockapi.Store) {
	t.Run("what was put comes back", func(t *testing.T) { storeWhatWasPutComesBack(t, open(t)) })
	t.Run("recycled memory is not shared", func(t *testing.T) { storeRecycledMemoryIsNotShared(t, open(t)) })
	t.Run("unknown blocks", func(t *testing.T) { storeUnknownBlocks(t, open(t)) })
	t.Run("references", func(t *testing.T) { storeReferences(t, open(t)) })
	t.Run("wrong sizes", func(t *testing.T) { storeWrongSizes(t, open(t)) })
	t.Run("many at once", func(t *testing.T) { storeManyAtOnce(t, open(t)) })
	t.Run("a caller that left", func(t *testing.T) { storeACallerThatLeft(t, open(t)) })
}

func storeWhatWasPutComesBack(t *testing.T, s blockapi.Store) {
	ctx := t.Context()
	for _, n := range sizes {
		for _, plain := range [][]byte{Random(n), Text(n)} {
			want := slices.Clone(plain)
			h := mustPut(t, s, Owner(), plain)
			clear(plain) // the store must not have kept it
			if h != blockcodec.Hash(want) {
				t.Fatalf("%d bytes: hash %s is not that of the content", n, h)
			}
			got, err := s.Get(ctx, h)
			if err != nil || !bytes.Equal(got, want) {
				t.Fatalf("%d bytes: got %d bytes, %v", n, len(got), err)
			}
			s.Recycle(got)
		}
	}
}

func storeRecycledMemoryIsNotShared(t *testing.T, s blockapi.Store) {
	ctx := t.Context()
	plain := Random(64 << 10)
	h := mustPut(t, s, Owner(), plain)
	first, err := s.Get(ctx, h)
	if err != nil {
		t.Fatal(err)
	}
	second, err := s.Get(ctx, h)
	if err != nil {
		t.Fatal(err)
	}
	clear(first)
	s.Recycle(first)
	third, err := s.Get(ctx, h)
	if err != nil || !bytes.Equal(second, plain) || !bytes.Equal(third, plain) {
		t.Fatalf("content changed under a caller: %v", err)
	}
}

func storeUnknownBlocks(t *testing.T, s blockapi.Store) {
	ctx := t.Context()
	if _, err := s.Get(ctx, blockcodec.Hash(Random(8))); !fault.Is(err, fault.NotFound) {
		t.Errorf("Get: got %v, want not found", err)
	}
	h := mustPut(t, s, Owner(), Random(100))
	if err := s.Reference(ctx, Owner(), []object.Hash{h, blockcodec.Hash(Random(8))}); !fault.Is(err, fault.NotFound) {
		t.Errorf("Reference: got %v, want not found", err)
	}
}

func storeReferences(t *testing.T, s blockapi.Store) {
	ctx := t.Context()
	var hashes []object.Hash
	for range 20 {
		hashes = append(hashes, mustPut(t, s, Owner(), Random(100)))
	}
	if err := s.Reference(ctx, Owner(), hashes); err != nil {
		t.Fatal(err)
	}
	if err := s.Reference(ctx, Owner(), nil); err != nil {
		t.Fatalf("no blocks: %v", err)
	}
	s.Release(ctx, blockapi.Released{Bucket: object.NewBucketID(), Key: "k", Version: object.NewVersionID()})
}

func storeWrongSizes(t *testing.T, s blockapi.Store) {
	ctx := t.Context()
	for _, n := range []int{0, blockapi.MaxBlockBytes + 1} {
		if _, err := s.Put(ctx, Owner(), make([]byte, n)); !fault.Is(err, fault.Invalid) {
			t.Errorf("%d bytes: got %v, want invalid", n, err)
		}
	}
}

func storeManyAtOnce(t *testing.T, s blockapi.Store) {
	shared := Random(64 << 10)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 8 {
				for _, plain := range [][]byte{shared, Random(32 << 10), Text(32 << 10)} {
					roundTrip(t, s, plain)
				}
			}
		})
	}
	wg.Wait()
}

func storeACallerThatLeft(t *testing.T, s blockapi.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Put(ctx, Owner(), Random(100)); err == nil {
		t.Error("Put of a canceled caller succeeded")
	}
	if _, err := s.Get(ctx, blockcodec.Hash(Random(8))); err == nil {
		t.Error("Get of a canceled caller succeeded")
	}
}

func mustPut(t *testing.T, s blockapi.Store, o blockapi.Owner, plain []byte) object.Hash {
	t.Helper()
	h, err := s.Put(t.Context(), o, plain)
	if err != nil {
		t.Fatalf("Put of %d bytes: %v", len(plain), err)
	}
	return h
}

func roundTrip(t *testing.T, s blockapi.Store, plain []byte) {
	h, err := s.Put(t.Context(), Owner(), plain)
	if err != nil {
		t.Errorf("Put: %v", err)
		return
	}
	got, err := s.Get(t.Context(), h)
	if err != nil || !bytes.Equal(got, plain) {
		t.Errorf("Get: %d bytes, %v", len(got), err)
		return
	}
	s.Recycle(got)
}

// RunNode checks that what open returns keeps the contract of blockapi.Node.
func RunNode(t *testing.T, open func(t *testing.T) blockapi.Node) {
	t.Run("what was put comes back", func(t *testing.T) { nodeWhatWasPutComesBack(t, open(t)) })
	t.Run("repeated puts", func(t *testing.T) { nodeRepeatedPuts(t, open(t)) })
	t.Run("wrong blocks", func(t *testing.T) { nodeWrongBlocks(t, open(t)) })
	t.Run("references", func(t *testing.T) { nodeReferences(t, open(t)) })
	t.Run("a hint alone deletes nothing", func(t *testing.T) { nodeAHintAloneDeletesNothing(t, open(t)) })
	t.Run("many at once", func(t *testing.T) { nodeManyAtOnce(t, open(t)) })
	t.Run("older epochs are refused", func(t *testing.T) { nodeFence(t, open(t)) })
}

// epoch is that of the ring by which the suite writes.
const epoch = 5

func nodeFence(t *testing.T, n blockapi.Node) {
	ctx, a, b := t.Context(), BlockOf(Random(100)), BlockOf(Random(100))
	if err := n.Put(ctx, epoch, Owner(), a); err != nil {
		t.Fatal(err)
	}
	if got := n.Epoch(); got != epoch {
		t.Fatalf("the epoch after a write of epoch %d is %d", epoch, got)
	}
	for _, old := range []uint64{0, epoch - 1} {
		for _, x := range []blockapi.Block{a, b} { // known and not
			if err := n.Put(ctx, old, Owner(), x); !fault.Is(err, fault.OldEpoch) {
				t.Errorf("Put of epoch %d: %v", old, err)
			}
		}
		if _, err := n.Reference(ctx, old, Owner(), []object.Hash{a.Hash}); !fault.Is(err, fault.OldEpoch) {
			t.Errorf("Reference of epoch %d: %v", old, err)
		}
	}
	if _, err := n.Get(ctx, b.Hash); !fault.Is(err, fault.NotFound) {
		t.Errorf("a refused block was stored: %v", err)
	}
	if _, err := n.Reference(ctx, epoch+1, Owner(), []object.Hash{a.Hash}); err != nil {
		t.Fatal(err)
	}
	if err := n.Put(ctx, epoch, Owner(), b); !fault.Is(err, fault.OldEpoch) {
		t.Errorf("after a reference of a newer epoch: %v", err)
	}
	if _, err := n.Get(ctx, a.Hash); err != nil {
		t.Error(err)
	}
}

func nodeWhatWasPutComesBack(t *testing.T, n blockapi.Node) {
	ctx := t.Context()
	codec, err := blockcodec.New(&blockcodec.Buffers{}, 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range sizes {
		for _, plain := range [][]byte{Random(size), Text(size)} {
			b, _ := codec.Encode(plain)
			sent := b
			sent.Data = slices.Clone(b.Data)
			if err := n.Put(ctx, epoch, Owner(), sent); err != nil {
				t.Fatal(err)
			}
			clear(sent.Data) // the node must not have kept it
			got, err := n.Get(ctx, b.Hash)
			if err != nil || got.Hash != b.Hash || got.PlainBytes != b.PlainBytes ||
				got.Encoding != b.Encoding || !bytes.Equal(got.Data, b.Data) {
				t.Fatalf("%d bytes: %v", size, err)
			}
		}
	}
}

func nodeRepeatedPuts(t *testing.T, n blockapi.Node) {
	ctx, b := t.Context(), BlockOf(Random(1000))
	owner := Owner()
	for _, o := range []blockapi.Owner{owner, owner, Owner()} {
		if err := n.Put(ctx, epoch, o, b); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := n.Get(ctx, b.Hash); err != nil || !bytes.Equal(got.Data, b.Data) {
		t.Fatalf("Get: %v", err)
	}
}

func nodeWrongBlocks(t *testing.T, n blockapi.Node) {
	ctx := t.Context()
	good := BlockOf(Random(1000))
	for name, c := range map[string]struct {
		change func(b *blockapi.Block)
		want   fault.Kind
	}{
		"other content":       {func(b *blockapi.Block) { b.Data = Random(1000) }, fault.Corrupt},
		"not zstd":            {func(b *blockapi.Block) { b.Encoding = blockapi.Zstd }, fault.Corrupt},
		"unknown encoding":    {func(b *blockapi.Block) { b.Encoding = 200 }, fault.Invalid},
		"empty":               {func(b *blockapi.Block) { b.Data, b.PlainBytes = nil, 0 }, fault.Invalid},
		"negative size":       {func(b *blockapi.Block) { b.PlainBytes = -1 }, fault.Invalid},
		"absurd size":         {func(b *blockapi.Block) { b.PlainBytes = 1 << 40 }, fault.Invalid},
		"shorter than it was": {func(b *blockapi.Block) { b.Data = b.Data[:999] }, fault.Corrupt},
	} {
		b := good
		c.change(&b)
		if err := n.Put(ctx, epoch, Owner(), b); !fault.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
		if _, err := n.Get(ctx, good.Hash); !fault.Is(err, fault.NotFound) {
			t.Fatalf("%s: the block was stored (%v)", name, err)
		}
	}
}

func nodeReferences(t *testing.T, n blockapi.Node) {
	ctx := t.Context()
	a, b := BlockOf(Random(10)), BlockOf(Random(10))
	for _, x := range []blockapi.Block{a, b} {
		if err := n.Put(ctx, epoch, Owner(), x); err != nil {
			t.Fatal(err)
		}
	}
	unknown := blockcodec.Hash(Random(8))
	missing, err := n.Reference(ctx, epoch, Owner(), []object.Hash{a.Hash, unknown, b.Hash})
	if err != nil || !slices.Equal(missing, []object.Hash{unknown}) {
		t.Fatalf("missing %v, %v", missing, err)
	}
	if missing, err = n.Reference(ctx, epoch, Owner(), nil); err != nil || len(missing) != 0 {
		t.Fatalf("no blocks: missing %v, %v", missing, err)
	}
	if _, err := n.Get(ctx, unknown); !fault.Is(err, fault.NotFound) {
		t.Fatalf("a reference made a block: %v", err)
	}
}

func nodeAHintAloneDeletesNothing(t *testing.T, n blockapi.Node) {
	ctx, b, o := t.Context(), BlockOf(Random(1000)), Owner()
	if err := n.Put(ctx, epoch, o, b); err != nil {
		t.Fatal(err)
	}
	n.Release(ctx, blockapi.Released{Bucket: o.Bucket, Key: o.Key, Version: o.Version})
	if _, err := n.Get(ctx, b.Hash); err != nil {
		t.Fatalf("Get after Release: %v", err)
	}
}

func nodeManyAtOnce(t *testing.T, n blockapi.Node) {
	ctx := t.Context()
	shared := BlockOf(Random(32 << 10))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 8 {
				for _, b := range []blockapi.Block{shared, BlockOf(Random(16 << 10))} {
					if err := n.Put(ctx, epoch, Owner(), b); err != nil {
						t.Errorf("Put: %v", err)
						return
					}
					got, err := n.Get(ctx, b.Hash)
					if err != nil || !bytes.Equal(got.Data, b.Data) {
						t.Errorf("Get: %v", err)
						return
					}
				}
			}
		})
	}
	wg.Wait()
}
