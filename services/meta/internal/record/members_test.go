package record_test

import (
	"bytes"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hangar/services/meta/internal/record"
	"hangar/shared/fault"
	"hangar/shared/layout"
)

func TestMembers(t *testing.T) {
	want := []record.Holding{{}, {Since: 1}, {Stale: true}, {Since: math.MaxUint64 - 1}}
	b := record.EncodeMembers(want)
	got, err := record.DecodeMembers(b, len(want))
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	for name, bad := range map[string][]byte{"empty": nil, "short": b[:len(b)-1], "long": append(bytes.Clone(b), 0), "version": append([]byte{2}, b[1:]...)} {
		if got, err := record.DecodeMembers(bad, len(want)); !fault.Is(err, fault.Corrupt) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

func TestCopy(t *testing.T) {
	for _, want := range []record.Copy{
		{},
		{Epoch: 7, Done: []layout.Partition{0, 5, 4095}, Running: []layout.Partition{1}, After: []byte("rk"), Rows: 3, Bytes: 1 << 40, Expected: 9},
	} {
		b := record.EncodeCopy(&want)
		got, err := record.DecodeCopy(b)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
		for n := range len(b) - len(want.After) {
			if got, err := record.DecodeCopy(b[:n]); !fault.Is(err, fault.Corrupt) {
				t.Errorf("%d bytes: %+v, %v", n, got, err)
			}
		}
	}
	unordered := record.EncodeCopy(&record.Copy{Done: []layout.Partition{2, 1}})
	if got, err := record.DecodeCopy(unordered); !fault.Is(err, fault.Corrupt) {
		t.Errorf("out of order: %+v, %v", got, err)
	}
}
