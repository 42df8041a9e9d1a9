package journal

import (
	"encoding/binary"

	"hangar/shared/fault"
	"hangar/shared/kv"
	"hangar/shared/object"
)

// A record of the journal, in the hash field of its segment record: a name that
// is no hash of a row's key, then its number.
const (
	recordName = "hangar journal\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	seqAt      = len(recordName)
)

// batchVersion is the format of a record's data.
const batchVersion = 1

// What is done with a key.
const (
	opSet    = 0
	opDelete = 1
)

// name is the hash field of the record with number seq.
func name(seq uint64) (h object.Hash) {
	copy(h[:], recordName)
	binary.BigEndian.PutUint64(h[seqAt:], seq)
	return h
}

// Seq returns the number of the record of the journal whose hash field is h, and
// whether it is one.
func Seq(h object.Hash) (seq uint64, ok bool) {
	return binary.BigEndian.Uint64(h[seqAt:]), string(h[:seqAt]) == recordName
}

// appendBatch appends the encoding of b, which is shorter than b.Bytes.
func appendBatch(buf []byte, b *kv.Batch) []byte {
	buf = append(buf, batchVersion)
	for _, op := range b.Ops() {
		if op.Delete {
			buf = append(buf, opDelete)
			buf = appendBytes(buf, op.Key)
			continue
		}
		buf = append(buf, opSet)
		buf = appendBytes(appendBytes(buf, op.Key), op.Value)
	}
	return buf
}

func appendBytes(buf, b []byte) []byte {
	return append(binary.AppendUvarint(buf, uint64(len(b))), b...)
}

// decodeBatch adds to b what data, which b keeps, says. Errors: Corrupt, and
// Invalid for a format newer than this program.
func decodeBatch(data []byte, b *kv.Batch) error {
	if len(data) == 0 {
		return fault.New(fault.Corrupt, "empty record")
	}
	if data[0] != batchVersion {
		return fault.New(fault.Invalid, "record of unknown format %d", data[0])
	}
	for rest := data[1:]; len(rest) > 0; {
		what := rest[0]
		op := kv.Op{Delete: what == opDelete}
		var ok bool
		if op.Key, rest, ok = cutBytes(rest[1:]); ok && what == opSet {
			op.Value, rest, ok = cutBytes(rest)
		}
		switch {
		case what > opDelete || !ok:
			return fault.New(fault.Corrupt, "record of no known form")
		case op.Check() != nil:
			return fault.Wrap(fault.Corrupt, op.Check(), "record")
		case op.Delete:
			b.Delete(op.Key)
		default:
			b.Set(op.Key, op.Value)
		}
	}
	return nil
}

// cutBytes takes a length and so many bytes off b.
func cutBytes(b []byte) (head, rest []byte, ok bool) {
	n, w := binary.Uvarint(b)
	if w <= 0 || n > uint64(len(b)-w) {
		return nil, nil, false
	}
	b = b[w:]
	return b[:n:n], b[n:], true
}
