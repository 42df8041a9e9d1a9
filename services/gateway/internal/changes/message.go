package changes

import (
	"encoding/binary"
	"errors"

	"hangar/shared/object"
)

// message says which items of a partition key have been written. With no sorts
// it may have been any.
type message struct {
	from  uint64 // the hub that sent it
	place place
	sorts []string
}

// place is a partition key of a bucket.
type place struct {
	bucket object.BucketID
	key    string
}

const (
	messageFormat = 1
	// maxNamed is how many items one message names.
	maxNamed = 64
)

var errMessage = errors.New("not a message about changes")

func (m *message) append(b []byte) []byte {
	b = append(b, messageFormat)
	b = binary.BigEndian.AppendUint64(b, m.from)
	b = append(b, m.place.bucket[:]...)
	b = appendString(b, m.place.key)
	if len(m.sorts) > maxNamed {
		return binary.AppendUvarint(b, 0)
	}
	b = binary.AppendUvarint(b, uint64(len(m.sorts)))
	for _, s := range m.sorts {
		b = appendString(b, s)
	}
	return b
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func parseMessage(b []byte) (m message, err error) {
	const fixed = 1 + 8 + len(m.place.bucket)
	if len(b) < fixed || b[0] != messageFormat {
		return m, errMessage
	}
	m.from = binary.BigEndian.Uint64(b[1:])
	copy(m.place.bucket[:], b[9:])
	b = b[fixed:]
	if m.place.key, b, err = takeString(b); err != nil {
		return m, err
	}
	count, n := binary.Uvarint(b)
	if n <= 0 || count > maxNamed {
		return m, errMessage
	}
	b = b[n:]
	for range count {
		var s string
		if s, b, err = takeString(b); err != nil {
			return m, err
		}
		m.sorts = append(m.sorts, s)
	}
	if len(b) > 0 {
		return m, errMessage
	}
	return m, nil
}

func takeString(b []byte) (s string, rest []byte, err error) {
	size, n := binary.Uvarint(b)
	if n <= 0 || size > object.MaxKeyBytes || uint64(len(b)-n) < size {
		return "", nil, errMessage
	}
	return string(b[n : n+int(size)]), b[n+int(size):], nil
}
