// Package blockcodec turns block content into what is stored and sent, and
// back: compression where it pays, and the check that bytes are what their
// hash says. It also keeps the memory that blocks pass through.
package blockcodec

import (
	"fmt"

	"github.com/klauspost/compress"
	"github.com/klauspost/compress/zstd"
	"github.com/zeebo/blake3"

	"hangar/shared/blockapi"
	"hangar/shared/fault"
	"hangar/shared/object"
)

const (
	// minCompressBytes is the least content that is worth trying.
	minCompressBytes = 512
	// sampleBytes and samples say how much of a block the probe looks at.
	sampleBytes = 2 << 10
	samples     = 4
	// hopeful is the estimate (see compress.Estimate) from which a try pays.
	hopeful = 0.1
	// windowBytes bounds an encoder's memory; blocks are rarely larger.
	windowBytes = 1 << 20
)

// Codec encodes and decodes blocks. Safe for concurrent use: at most as many
// callers as it was made for work at once, the others wait, so its memory is
// bounded.
type Codec struct {
	buffers *Buffers
	encoder *zstd.Encoder
	decoder *zstd.Decoder
}

// New returns a codec for up to concurrency callers at once that takes its
// memory from buffers.
func New(buffers *Buffers, concurrency int) (*Codec, error) {
	concurrency = max(concurrency, 1)
	e, err := zstd.NewWriter(nil,
		zstd.WithEncoderLevel(zstd.SpeedFastest),
		zstd.WithEncoderConcurrency(concurrency),
		zstd.WithWindowSize(windowBytes),
		// Digits and base64 shrink by entropy alone.
		zstd.WithAllLitEntropyCompression(true),
		zstd.WithEncoderCRC(false), // the block's own hash is stronger
	)
	if err != nil {
		return nil, fmt.Errorf("zstd encoder: %w", err)
	}
	d, err := zstd.NewReader(nil,
		zstd.WithDecoderConcurrency(concurrency),
		zstd.WithDecoderMaxMemory(blockapi.MaxBlockBytes),
		zstd.WithDecoderMaxWindow(blockapi.MaxBlockBytes),
		zstd.WithDecodeAllCapLimit(true),
	)
	if err != nil {
		return nil, fmt.Errorf("zstd decoder: %w", err)
	}
	return &Codec{buffers: buffers, encoder: e, decoder: d}, nil
}

// Hash names plain content.
func Hash(plain []byte) object.Hash { return object.Hash(blake3.Sum256(plain)) }

// Encode returns plain as a block. own says that Data is a buffer of its own,
// to be recycled by the caller; otherwise it is plain itself.
func (c *Codec) Encode(plain []byte) (b blockapi.Block, own bool) {
	b = blockapi.Block{Hash: Hash(plain), PlainBytes: int64(len(plain)), Data: plain}
	if !promising(plain) {
		return b, false
	}
	buf := c.buffers.Get(len(plain))
	data := c.encoder.EncodeAll(plain, buf[:0])
	// Below a saving of 1/16 the decoding costs more than it brings.
	if len(data) > len(plain)-len(plain)/16 {
		c.buffers.Put(data)
		return b, false
	}
	b.Encoding, b.Data = blockapi.Zstd, data
	return b, true
}

// promising looks at a few samples, so that content that does not compress
// costs almost nothing.
func promising(plain []byte) bool {
	if len(plain) < minCompressBytes {
		return false
	}
	if len(plain) <= samples*sampleBytes {
		return compress.Estimate(plain) >= hopeful
	}
	stride := (len(plain) - sampleBytes) / (samples - 1)
	for i := range samples {
		at := i * stride
		if compress.Estimate(plain[at:at+sampleBytes]) >= hopeful {
			return true
		}
	}
	return false
}

// Decode returns b's plain content after checking it against b.Hash, unless it
// is Hashed: Corrupt when it does not match. For plain blocks it is b.Data itself; otherwise it is
// a buffer of its own, to be recycled by the caller.
func (c *Codec) Decode(b blockapi.Block) (plain []byte, own bool, err error) {
	if err := Check(b); err != nil {
		return nil, false, err
	}
	plain = b.Data
	if b.Encoding == blockapi.Zstd {
		buf := c.buffers.Get(int(b.PlainBytes))
		plain, err = c.decoder.DecodeAll(b.Data, buf[:0:len(buf)])
		if err != nil {
			c.buffers.Put(buf)
			return nil, false, fault.Wrap(fault.Corrupt, err, "block %s does not decode", b.Hash)
		}
		own = true
	}
	if int64(len(plain)) != b.PlainBytes || !b.Hashed && Hash(plain) != b.Hash {
		if own {
			c.buffers.Put(plain)
		}
		return nil, false, fault.New(fault.Corrupt, "block %s has other content than its hash says", b.Hash)
	}
	return plain, own, nil
}

// Verify checks that b decodes to what its hash says: Corrupt or Invalid when not.
func (c *Codec) Verify(b blockapi.Block) error {
	if b.Hashed {
		return Check(b)
	}
	plain, own, err := c.Decode(b)
	if own {
		c.buffers.Put(plain)
	}
	return err
}

// Check looks at a block's outside: sizes and encoding. Invalid when wrong.
func Check(b blockapi.Block) error {
	switch {
	case b.PlainBytes <= 0 || b.PlainBytes > blockapi.MaxBlockBytes:
		return fault.New(fault.Invalid, "block of %d bytes: want 1 to %d", b.PlainBytes, blockapi.MaxBlockBytes)
	case b.Encoding > blockapi.Zstd:
		return fault.New(fault.Invalid, "unknown block encoding %d", b.Encoding)
	case len(b.Data) == 0 || int64(len(b.Data)) > b.PlainBytes:
		return fault.New(fault.Invalid, "block of %d bytes encoded as %d", b.PlainBytes, len(b.Data))
	}
	return nil
}
