package workload

import (
	"bytes"
	"testing"
)

func TestContents(t *testing.T) {
	for _, size := range []int{0, 1, 300, 40 << 10, 3<<20 + 1} {
		name := valueName(7, 12, size)
		b := contentOf(name)
		if got, err := valueIn(b); err != nil || got != name {
			t.Fatalf("%s is read as %q, %v", name, got, err)
		}
		if size <= 300 {
			continue
		}
		other := contentOf(valueName(8, 12, size))
		mixed := append(bytes.Clone(b[:size/2]), other[size/2:]...)
		for what, wrong := range map[string][]byte{
			"cut short": b[:size-1], "too long": append(bytes.Clone(b), 0), "mixed": mixed, "without its head": b[100:],
		} {
			if got, err := valueIn(wrong); err == nil {
				t.Errorf("%s, %s, is taken for %s", name, what, got)
			}
		}
	}
}
