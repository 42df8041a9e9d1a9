package segment

import (
	"errors"
	"io"

	"github.com/zeebo/xxh3"

	"hangar/shared/fault"
)

// scan walks the records of s from offset from to size. It returns the end of
// the last record that visit took without error. Errors: Corrupt for what is
// no record, Internal when the file cannot be read, or that of visit.
func scan(s *file, from, size int64, visit func(Entry) error) (end int64, err error) {
	var h [recordHeader]byte
	for end = from; end < size; {
		if size-end < recordHeader {
			return end, fault.New(fault.Corrupt, "%s: %d stray bytes at the end", s.path, size-end)
		}
		if err := readFull(s, h[:], end); err != nil {
			return end, err
		}
		e, err := parseHeader(s.id, end, h[:])
		if err != nil {
			return end, fault.Wrap(fault.Corrupt, err, "%s at %d", s.path, end)
		}
		if e.End() > size {
			return end, fault.New(fault.Corrupt, "%s at %d: the record is cut off", s.path, end)
		}
		if err := visit(e); err != nil {
			return end, err
		}
		end = e.End()
	}
	return end, nil
}

// read fills buf with the data at loc and checks it.
func (s *file) read(loc Location, buf []byte) error {
	// In steps, so that what is checksummed is still in the processor's cache.
	const step = 128 << 10
	if len(buf) <= step {
		if err := readFull(s, buf, loc.Offset); err != nil {
			return err
		}
		return s.check(loc, Checksum(buf))
	}
	var sum xxh3.Hasher
	for at := 0; at < len(buf); at += step {
		piece := buf[at:min(at+step, len(buf))]
		if err := readFull(s, piece, loc.Offset+int64(at)); err != nil {
			return err
		}
		_, _ = sum.Write(piece) // never fails
	}
	return s.check(loc, sum.Sum64())
}

func (s *file) check(loc Location, sum uint64) error {
	if sum != loc.Checksum {
		return fault.New(fault.Corrupt, "%s at %d: data does not match its checksum", s.path, loc.Offset)
	}
	return nil
}

// readFull reads all of buf. A file that ends too early is Corrupt, and so is
// what the disk cannot give back.
func readFull(s *file, buf []byte, offset int64) error {
	n, err := s.f.ReadAt(buf, offset)
	switch {
	case n == len(buf):
		return nil
	case errors.Is(err, io.EOF):
		return fault.New(fault.Corrupt, "%s: ends before %d", s.path, offset+int64(len(buf)))
	default:
		return fault.Wrap(fault.Internal, err, "read %s", s.path)
	}
}
