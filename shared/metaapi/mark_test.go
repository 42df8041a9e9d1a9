package metaapi

import (
	"bytes"
	"crypto/sha256"
	"testing"

	"hangar/shared/fault"
	"hangar/shared/object"
)

// Whatever a client hands in as a mark is refused, or is the one form of what it
// says. The sum that the fuzzer cannot guess is put on for it.
func FuzzParseMark(f *testing.F) {
	const of = 7
	a, b := object.NodeID{1}, object.NodeID{2}
	for _, m := range []mark{
		{of: of, base: map[object.NodeID]seen{}},
		{of: of, base: map[object.NodeID]seen{a: {1, 2}, b: {3, 4}}},
		{of: of, base: map[object.NodeID]seen{a: {1, 2}}, passing: true, after: "x", next: map[object.NodeID]seen{b: {5, 6}}},
		{of: of + 1, base: map[object.NodeID]seen{}},
	} {
		text := m.encode()
		f.Add([]byte(text[:len(text)-markSumBytes]))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		if _, err := parseMark(Mark(in), of); err == nil && len(in) > 0 {
			t.Fatalf("%x has the sum that it should have by chance", in)
		}
		sum := sha256.Sum256(in)
		text := Mark(append(bytes.Clone(in), sum[:markSumBytes]...))
		m, err := parseMark(text, of)
		if err != nil {
			if !fault.Is(err, fault.Invalid) {
				t.Fatal(err)
			}
			return
		}
		if len(text) > MaxMarkBytes || !bytes.Equal(m.encode(), text) {
			t.Fatalf("%x became %x", text, m.encode())
		}
		heard := map[object.NodeID]seen{{1}: {1, 9}, {9}: {1, 1}}
		for _, more := range []bool{true, false} {
			next := m.advance(heard, []object.NodeID{{1}, {9}}, more, "z")
			if again, err := parseMark(next.encode(), of); err != nil || again.passing != more {
				t.Fatalf("%+v: %v", next, err)
			}
		}
	})
}
