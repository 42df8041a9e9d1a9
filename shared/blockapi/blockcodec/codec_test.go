package blockcodec_test

import (
	"bytes"
	"encoding/base64"
	"testing"

	"hangar/shared/blockapi"
	"hangar/shared/blockapi/blockcodec"
	"hangar/shared/blockapi/blocktest"
	"hangar/shared/fault"
)

func newCodec(t testing.TB) *blockcodec.Codec {
	t.Helper()
	c, err := blockcodec.New(&blockcodec.Buffers{}, 2)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCompressesWhatPays(t *testing.T) {
	c := newCodec(t)
	late := append(blocktest.Random(600<<10), blocktest.Text(400<<10)...)
	for name, v := range map[string]struct {
		plain []byte
		want  blockapi.Encoding
	}{
		"text":            {blocktest.Text(1 << 20), blockapi.Zstd},
		"short text":      {blocktest.Text(2000), blockapi.Zstd},
		"zeros":           {make([]byte, 1<<20), blockapi.Zstd},
		"base64":          {[]byte(base64.StdEncoding.EncodeToString(blocktest.Random(700 << 10))), blockapi.Zstd},
		"text at the end": {late, blockapi.Zstd},
		"random":          {blocktest.Random(1 << 20), blockapi.Plain},
		"tiny":            {blocktest.Text(100), blockapi.Plain},
	} {
		b, own := c.Encode(v.plain)
		if b.Encoding != v.want || own != (v.want == blockapi.Zstd) {
			t.Errorf("%s: encoding %d of %d bytes to %d", name, b.Encoding, len(v.plain), len(b.Data))
		}
		plain, _, err := c.Decode(b)
		if err != nil || !bytes.Equal(plain, v.plain) {
			t.Errorf("%s does not come back: %v", name, err)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	c := newCodec(t)
	good, _ := c.Encode(blocktest.Text(10_000))
	bomb, _ := c.Encode(make([]byte, 1<<20))
	for name, v := range map[string]struct {
		change func(b *blockapi.Block)
		want   fault.Kind
	}{
		"larger than said":  {func(b *blockapi.Block) { *b = bomb; b.PlainBytes = int64(len(b.Data)) }, fault.Corrupt},
		"smaller than said": {func(b *blockapi.Block) { b.PlainBytes++ }, fault.Corrupt},
		"cut":               {func(b *blockapi.Block) { b.Data = b.Data[:len(b.Data)-1] }, fault.Corrupt},
		"other hash":        {func(b *blockapi.Block) { b.Hash[0]++ }, fault.Corrupt},
		"grown":             {func(b *blockapi.Block) { b.PlainBytes = 10 }, fault.Invalid},
	} {
		b := good
		v.change(&b)
		if _, _, err := c.Decode(b); !fault.Is(err, v.want) {
			t.Errorf("%s: got %v, want %v", name, err, v.want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	c := newCodec(f)
	b, _ := c.Encode(blocktest.Text(5000))
	f.Add(b.Data, b.PlainBytes, uint8(1))
	f.Add([]byte("x"), int64(1), uint8(0))
	f.Fuzz(func(t *testing.T, data []byte, size int64, encoding uint8) {
		// The right hash for whatever it decodes to is not known: any answer
		// but a panic or other content will do.
		_, _, err := c.Decode(blockapi.Block{Data: data, PlainBytes: size, Encoding: blockapi.Encoding(encoding)})
		if err == nil {
			t.Fatal("content with an all-zero hash")
		}
	})
}

func TestBuffers(t *testing.T) {
	var b blockcodec.Buffers
	for _, n := range []int{0, 1, 4096, 4097, 1 << 20, 1<<20 + 1, blockapi.MaxBlockBytes, blockapi.MaxBlockBytes + 1} {
		for range 3 {
			buf := b.Get(n)
			if len(buf) != n {
				t.Fatalf("asked for %d, got %d", n, len(buf))
			}
			b.Put(buf)
		}
	}
	// A slice of odd capacity must only come back for what it can hold.
	b.Put(make([]byte, 6000))
	if buf := b.Get(8000); len(buf) != 8000 {
		t.Fatal("a short buffer came back")
	}
}

func BenchmarkEncode(b *testing.B) {
	c := newCodec(b)
	for name, plain := range map[string][]byte{
		"random 1MiB": blocktest.Random(1 << 20), "text 1MiB": blocktest.Text(1 << 20), "random 64KiB": blocktest.Random(64 << 10),
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(plain)))
			for b.Loop() {
				c.Encode(plain)
			}
		})
	}
	plain := blocktest.Random(1 << 20)
	b.Run("hash only 1MiB", func(b *testing.B) {
		b.SetBytes(int64(len(plain)))
		for b.Loop() {
			blockcodec.Hash(plain)
		}
	})
}
