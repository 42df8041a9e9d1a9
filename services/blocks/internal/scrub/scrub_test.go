package scrub

import (
	"bytes"
	"testing"
)

func TestCursors(t *testing.T) {
	c := tally{at: []byte("a place"), seen: 1, bytes: 1 << 40, corrupt: 3}
	if got := decodeTally(c.encode()); got.seen != c.seen || got.bytes != c.bytes || got.corrupt != c.corrupt || !bytes.Equal(got.at, c.at) {
		t.Errorf("%+v", got)
	}
	for _, b := range [][]byte{nil, {}, {1}, append([]byte{2}, c.encode()[1:]...), c.encode()[:20]} {
		if got := decodeTally(b); got.seen != 0 || got.at != nil {
			t.Errorf("%x: %+v", b, got)
		}
	}
}
