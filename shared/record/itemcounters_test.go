package record

import (
	"bytes"
	"math"
	"testing"

	"hangar/shared/fault"
	"hangar/shared/metaapi"
)

func TestItemCountersComeBack(t *testing.T) {
	for _, c := range []metaapi.ItemCounters{
		{},
		{Entries: 1, Conflicts: 1, Values: 3, Bytes: 300},
		{Entries: math.MaxInt64, Conflicts: math.MaxInt64, Values: math.MaxInt64, Bytes: math.MaxInt64},
	} {
		head := append(AppendItemCounters(nil, c), "the rest"...)
		got, rest, err := ParseItemCounters(head)
		if err != nil || got != c || string(rest) != "the rest" {
			t.Errorf("%+v came back as %+v with %q, %v", c, got, rest, err)
		}
		for n := range len(head) - len("the rest") {
			if _, _, err := ParseItemCounters(head[:n]); !fault.Is(err, fault.Corrupt) {
				t.Errorf("the first %d bytes of %+v: %v, want Corrupt", n, c, err)
			}
		}
	}
}

func FuzzItemCounters(f *testing.F) {
	f.Add(AppendItemCounters(nil, metaapi.ItemCounters{Entries: 1, Values: 2, Bytes: 128}))
	f.Add([]byte{format, 0x80, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, head []byte) {
		c, rest, err := ParseItemCounters(head)
		if err != nil {
			return
		}
		if again := append(AppendItemCounters(nil, c), rest...); !bytes.Equal(again, head) {
			t.Errorf("%x reads as %+v, which is written as %x", head, c, again)
		}
	})
}
