package checksum

import (
	"encoding/binary"
	"fmt"
	"math/bits"
)

// A CRC is the remainder of a polynomial over GF(2), so that of a
// concatenation A‖B is crc(A)·x^(8·len B) + crc(B): appending bytes multiplies
// by a power of x, and addition is exclusive or. The ones that these CRCs
// start from and end with cancel out.

// field is arithmetic modulo one CRC's polynomial. Values are bit-reflected,
// as the CRCs are: the highest of width bits is the coefficient of x^0.
type field struct {
	poly uint64 // reflected, without the leading term
	one  uint64 // x^0
}

// The polynomials in reflected form.
const (
	polyCRC32     = 0xEDB88320
	polyCRC32C    = 0x82F63B78
	polyCRC64NVME = 0x9A6C9329AC4BC9B5
)

func fieldOf(a Algorithm) (field, bool) {
	switch a {
	case CRC32:
		return field{polyCRC32, 1 << 31}, true
	case CRC32C:
		return field{polyCRC32C, 1 << 31}, true
	case CRC64NVME:
		return field{polyCRC64NVME, 1 << 63}, true
	}
	return field{}, false
}

// mul is a·b.
func (f field) mul(a, b uint64) uint64 {
	var product uint64
	for m := f.one; a != 0; m >>= 1 {
		if a&m != 0 {
			product ^= b
			a &^= m
		}
		// b·x
		b = b>>1 ^ f.poly&-(b&1)
	}
	return product
}

// shift is x^(8n): what n bytes that follow multiply a CRC by.
func (f field) shift(n int64) uint64 {
	result, base := f.one, f.one>>8
	for k := bits.Len64(uint64(n)); k > 0; k-- {
		if n&1 != 0 {
			result = f.mul(result, base)
		}
		base = f.mul(base, base)
		n >>= 1
	}
	return result
}

// Combine is the checksum of the whole out of those of its parts, in order.
// It costs no reading; a must be one that Combines.
func Combine(a Algorithm, parts []Part) ([]byte, error) {
	f, ok := fieldOf(a)
	if !ok {
		return nil, fmt.Errorf("%s of a whole does not follow from those of its parts", a)
	}
	var (
		crc   uint64
		size  int64 // of which step is the shift: parts mostly have one size
		step  = f.one
		bytes = a.Size()
	)
	for i, p := range parts {
		if len(p.Value) != bytes || p.Size < 0 {
			return nil, fmt.Errorf("part at %d: %s value of %d bytes for %d bytes of content",
				i, a, len(p.Value), p.Size)
		}
		if p.Size != size {
			size, step = p.Size, f.shift(p.Size)
		}
		crc = f.mul(crc, step) ^ number(p.Value)
	}
	var out [8]byte
	binary.BigEndian.PutUint64(out[:], crc)
	return append([]byte(nil), out[8-bytes:]...), nil
}

// number reads a big-endian value of up to 8 bytes.
func number(b []byte) (v uint64) {
	for _, c := range b {
		v = v<<8 | uint64(c)
	}
	return v
}
