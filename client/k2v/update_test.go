package k2v

import (
	"errors"
	"testing"
)

func bytesOf(values ...string) (out [][]byte) {
	for _, v := range values {
		out = append(out, []byte(v))
	}
	return out
}

func TestResolvers(t *testing.T) {
	plus := func(v []byte) ([]byte, error) { return append(v, '+'), nil }
	for _, c := range []struct {
		name   string
		r      Resolver
		values [][]byte
		want   string
		err    error
	}{
		{"largest", Largest, bytesOf("2", "10", "3"), "3", nil},
		{"largest of nothing", Largest, nil, "", ErrKeep},
		{"union", Union, bytesOf("b\na\n", "c\nb"), "a\nb\nc\n", nil},
		{"union of one", Union, bytesOf("b\na"), "a\nb\n", nil},
		{"union of empty ones", Union, bytesOf("", ""), "", nil},
		{"union of nothing", Union, nil, "", ErrKeep},
		{"settled", Settle(Largest, plus), bytesOf("1", "2"), "2+", nil},
		{"settled of one", Settle(Largest, plus), bytesOf("1"), "1+", nil},
		{"settled of nothing", Settle(Largest, plus), nil, "+", nil},
	} {
		got, err := c.r(c.values)
		if string(got) != c.want || !errors.Is(err, c.err) {
			t.Errorf("%s: %q, %v", c.name, got, err)
		}
	}
}

// TestUnionDoesNotCareForOrder: two clients that resolve the same conflict write
// the same.
func TestUnionDoesNotCareForOrder(t *testing.T) {
	a, _ := Union(bytesOf("x\ny\n", "z\n", "y\na\n"))
	b, _ := Union(bytesOf("y\na\n", "x\ny\n", "z\n"))
	if string(a) != string(b) {
		t.Errorf("%q and %q", a, b)
	}
}
