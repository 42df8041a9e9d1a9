package causal

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
)

// Seen says that whoever read an item saw all that came through Node up to Time.
type Seen struct {
	Node Node
	Time uint64
}

// Context is what somebody has seen of an item, ascending by node.
type Context []Seen

// at is how far node was seen; 0 for not at all.
func (c Context) at(node Node) uint64 {
	for _, s := range c {
		if s.Node == node {
			return s.Time
		}
	}
	return 0
}

// NewerThan reports whether c saw something that o did not.
func (c Context) NewerThan(o Context) bool {
	return slices.ContainsFunc(c, func(s Seen) bool { return s.Time > o.at(s.Node) })
}

// Within is what of c the item really had: who claims to have seen more than
// there ever was, saw all there was. One who holds the only copy of an item may
// cut the contexts of others so; a replica that may be behind may not.
func (c Context) Within(item Context) Context {
	var out Context
	for _, s := range c {
		if t := min(s.Time, item.at(s.Node)); t > 0 {
			out = append(out, Seen{s.Node, t})
		}
	}
	return out
}

// maxTokenNodes bounds the nodes of one token.
const maxTokenNodes = 128

// MaxTokenBytes is the longest causality token.
var MaxTokenBytes = encoding.EncodedLen(8 + 16*maxTokenNodes)

// encoding is strict, so that a context has one token only.
var encoding = base64.RawURLEncoding.Strict()

// ErrToken says that what came as a causality token is none.
var ErrToken = errors.New("invalid causality token")

// Token writes c as a causality token: the XOR of all numbers, then node and
// time of each, big-endian, in unpadded URL-safe base64.
func (c Context) Token() string {
	b := make([]byte, 8, 8+16*len(c))
	sum := uint64(0)
	for _, s := range c {
		sum ^= uint64(s.Node) ^ s.Time
		b = binary.BigEndian.AppendUint64(b, uint64(s.Node))
		b = binary.BigEndian.AppendUint64(b, s.Time)
	}
	binary.BigEndian.PutUint64(b, sum)
	return encoding.EncodeToString(b)
}

// ParseToken reads a causality token. The error is ErrToken.
func ParseToken(token string) (Context, error) {
	// The decoder would skip line breaks.
	if len(token) > MaxTokenBytes || strings.ContainsAny(token, "\r\n") {
		return nil, ErrToken
	}
	b, err := encoding.DecodeString(token)
	if err != nil || len(b)%16 != 8 {
		return nil, ErrToken
	}
	sum, b := binary.BigEndian.Uint64(b), b[8:]
	c := make(Context, 0, len(b)/16)
	for ; len(b) > 0; b = b[16:] {
		s := Seen{Node(binary.BigEndian.Uint64(b)), binary.BigEndian.Uint64(b[8:])}
		if n := len(c); s.Time > MaxTime || n > 0 && c[n-1].Node >= s.Node {
			return nil, ErrToken
		}
		sum ^= uint64(s.Node) ^ s.Time
		c = append(c, s)
	}
	if sum != 0 {
		return nil, ErrToken
	}
	return c, nil
}
