package record_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hangar/services/meta/internal/record"
	"hangar/shared/fault"
	"hangar/shared/layout"
	"hangar/shared/metaapi"
	"hangar/shared/object"
	"hangar/shared/register"
	"hangar/shared/segment"
)

func tag(n int64) register.Tag {
	return register.Tag{Time: n, Node: uint64(n) << 60, Seq: uint8(n & 1)}
}

// rows is one of each shape.
func rows() map[string]*record.Row {
	ring := func(n int) (ring []register.Accepted) {
		for i := range n {
			ring = append(ring, register.Accepted{Op: tag(int64(i + 1)), Tag: tag(int64(i + 10))})
		}
		return ring
	}
	value := &register.Value{Head: []byte("head"), Body: []byte("body"), Count: 1, Bytes: -5}
	state := func(v *register.Value, promised, floor register.Tag, n int) register.State {
		return register.State{Row: register.Row{Tag: tag(100), Op: tag(100), Value: v}, Promised: promised, Floor: floor, Ring: ring(n)}
	}
	carried := state(value, register.Tag{}, register.Tag{}, 0)
	carried.Op = tag(99)
	return map[string]*record.Row{
		"plain":        {State: state(value, register.Tag{}, register.Tag{}, 0), BodyBytes: 4},
		"empty value":  {State: state(&register.Value{}, register.Tag{}, register.Tag{}, 0)},
		"marker":       {State: state(nil, register.Tag{}, register.Tag{}, 1)},
		"full history": {State: state(value, tag(7), tag(3), register.RingSize), BodyBytes: 4},
		"floor only":   {State: state(value, register.Tag{}, tag(3), 0), BodyBytes: 4},
		"carried":      {State: carried, BodyBytes: 4},
		"promise only": {State: register.State{Promised: tag(5)}},
		"body apart": {
			State: state(&register.Value{Head: []byte("h")}, tag(8), tag(2), 2), BodyBytes: record.MaxInlineBody + 1,
			Place: segment.Location{Segment: 300, Offset: 70000, StoredBytes: record.MaxInlineBody + 99, Checksum: 1 << 60},
		},
		"largest inline": {
			State:     state(&register.Value{Body: make([]byte, record.MaxInlineBody)}, tag(8), tag(2), 2),
			BodyBytes: record.MaxInlineBody,
		},
	}
}

func TestRowRoundTrip(t *testing.T) {
	for name, row := range rows() {
		t.Run(name, func(t *testing.T) {
			b := record.Encode(row)
			got, err := record.Decode(b)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(row, got); diff != "" {
				t.Error(diff)
			}
			peek, err := record.DecodePeek(b)
			if err != nil || peek.Tag != row.Tag || peek.Live != (row.Value != nil) ||
				row.Value != nil && !bytes.Equal(peek.Head, row.Value.Head) {
				t.Errorf("peek %+v, %v", peek, err)
			}
			for cut := range b {
				if _, err := record.Decode(b[:cut]); !fault.Is(err, fault.Corrupt) {
					t.Errorf("cut at %d of %d: %v", cut, len(b), err)
				}
			}
			if _, err := record.Decode(append(b, 0)); !fault.Is(err, fault.Corrupt) {
				t.Errorf("one byte more: %v", err)
			}
		})
	}
}

func TestKeysOrderLikeRows(t *testing.T) {
	names := []string{"", "\x00", "\x00\x00", "\x00\x01", "\x00\xff", "\x01", "a", "a\x00", "a\x00\x01", "a\x00b", "a\x01", "a/", "ab", "é", "\xff", "\xff\xff"}
	var keys []metaapi.RowKey
	for _, table := range []metaapi.Table{metaapi.Objects, metaapi.Parts} {
		for _, bucket := range []object.BucketID{{}, {1}, {0xff}} {
			for _, key := range names {
				for _, sub := range names {
					keys = append(keys, metaapi.RowKey{Table: table, Bucket: bucket, Key: key, Sub: sub})
				}
			}
		}
	}
	compare := func(a, b metaapi.RowKey) int {
		if a.Table != b.Table {
			return int(a.Table) - int(b.Table)
		}
		if c := bytes.Compare(a.Bucket[:], b.Bucket[:]); c != 0 {
			return c
		}
		if c := strings.Compare(a.Key, b.Key); c != 0 {
			return c
		}
		return strings.Compare(a.Sub, b.Sub)
	}
	slices.SortFunc(keys, compare)
	var last []byte
	for _, k := range keys {
		enc := record.RowKey(k)
		if bytes.Compare(last, enc) >= 0 {
			t.Errorf("%+v is out of order", k)
		}
		last = enc
		if got, err := record.ParseRowKey(enc); err != nil || got != k {
			t.Errorf("%+v reads back as %+v, %v", k, got, err)
		}
		for _, prefix := range names {
			has := bytes.HasPrefix(enc, record.ScanPrefix(k.Table, k.Bucket, prefix))
			if has != strings.HasPrefix(k.Key, prefix) {
				t.Errorf("%+v has prefix %q: %v", k, prefix, has)
			}
			is := bytes.HasPrefix(enc, record.KeyPrefix(k.Table, k.Bucket, prefix))
			if is != (k.Key == prefix) {
				t.Errorf("%+v is %q: %v", k, prefix, is)
			}
		}
	}
}

func TestVacantKey(t *testing.T) {
	row := record.RowKey(metaapi.RowKey{Table: metaapi.Objects, Key: "k"})
	micros, got, err := record.ParseVacantKey(record.VacantKey(77, row))
	if err != nil || micros != 77 || !bytes.Equal(got, row) {
		t.Errorf("%d %x %v", micros, got, err)
	}
	if bytes.Compare(record.VacantKey(255, row), record.VacantKey(256, row)) >= 0 {
		t.Error("not ordered by time")
	}
}

func TestDigestAddsUp(t *testing.T) {
	a, b := record.DigestOf([]byte("a"), tag(1)), record.DigestOf([]byte("b"), tag(1))
	if a == b || a == record.DigestOf([]byte("a"), tag(2)) {
		t.Error("different states have one digest")
	}
	if a.Plus(b) != b.Plus(a) || a.Plus(b).Minus(a) != b {
		t.Error("digests do not add up")
	}
	if got, err := record.DecodeDigest(record.EncodeDigest(a.Plus(b))); err != nil || got != a.Plus(b) {
		t.Errorf("%v, %v", got, err)
	}
}

// FuzzDecode: what decodes encodes to the same bytes, and a listing reads the
// same from it.
func FuzzDecode(f *testing.F) {
	for _, row := range rows() {
		f.Add(record.Encode(row))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		peek, peekErr := record.DecodePeek(b)
		row, err := record.Decode(b)
		if err != nil {
			if !fault.Is(err, fault.Corrupt) {
				t.Errorf("%v", err)
			}
			return
		}
		if again := record.Encode(row); !bytes.Equal(again, b) {
			t.Errorf("%x encodes as %x", b, again)
		}
		if peekErr != nil || peek.Tag != row.Tag || peek.Live != (row.Value != nil) {
			t.Errorf("peek %+v, %v", peek, peekErr)
		}
	})
}

func FuzzParseRowKey(f *testing.F) {
	f.Add(record.RowKey(metaapi.RowKey{Table: metaapi.Parts, Key: "a\x00b", Sub: "\x00"}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if k, err := record.ParseRowKey(b); err == nil && !bytes.Equal(record.RowKey(k), b) {
			t.Errorf("%x is the key of %+v", b, k)
		}
	})
}

// TestMarksRoundTrip: what a node keeps of its work reads back, and damage is
// told.
func TestMarksRoundTrip(t *testing.T) {
	mark := record.RepairMark{Peer: object.NodeID{3}, After: []byte("r\x00after")}
	mark.Slices.Add(4095)
	if got, err := record.DecodeRepair(record.EncodeRepair(mark)); err != nil || cmp.Diff(mark, got) != "" {
		t.Errorf("%+v, %v", got, err)
	}
	c := &record.Copy{Epoch: 7, Done: []layout.Partition{1, 255}, Running: []layout.Partition{3}, After: []byte("r"), Rows: 4, Bytes: 5, Expected: 6}
	if got, err := record.DecodeCopy(record.EncodeCopy(c)); err != nil || cmp.Diff(*c, got) != "" {
		t.Errorf("%+v, %v", got, err)
	}
	holdings := []record.Holding{{Since: 1}, {}, {Stale: true}, {Since: 1 << 40}}
	b := record.EncodeMembers(holdings)
	if got, err := record.DecodeMembers(b, 4); err != nil || !slices.Equal(got, holdings) {
		t.Errorf("%+v, %v", got, err)
	}
	position := record.Position{Seq: 1 << 40, Segment: 3, End: 1 << 33}
	if got, err := record.DecodePosition(record.EncodePosition(position)); err != nil || got != position {
		t.Errorf("%+v, %v", got, err)
	}
	for _, n := range []int{0, 3, 5} {
		if _, err := record.DecodeMembers(b, n); !fault.Is(err, fault.Corrupt) {
			t.Errorf("as %d partitions: %v", n, err)
		}
	}
	if _, err := record.DecodeCopy(record.EncodeCopy(&record.Copy{Done: []layout.Partition{2, 2}})); !fault.Is(err, fault.Corrupt) {
		t.Errorf("a partition twice: %v", err)
	}
}

// FuzzDecodeMarks: what decodes encodes to the same bytes, and the rest is
// Corrupt.
func FuzzDecodeMarks(f *testing.F) {
	f.Add(record.EncodeRepair(record.RepairMark{Peer: object.NodeID{1}}))
	f.Add(record.EncodeCopy(&record.Copy{Epoch: 1, Done: []layout.Partition{1, 2}, After: []byte("r")}))
	f.Add(record.EncodeMembers([]record.Holding{{Since: 1}, {Stale: true}}))
	f.Add(record.EncodePosition(record.Position{Seq: 1, End: 2}))
	f.Fuzz(func(t *testing.T, b []byte) {
		same := func(what string, again []byte, err error) {
			switch {
			case err != nil && !fault.Is(err, fault.Corrupt):
				t.Errorf("%s: %v", what, err)
			case err == nil && !bytes.Equal(again, b):
				t.Errorf("%s: %x encodes as %x", what, b, again)
			}
		}
		m, err := record.DecodeRepair(b)
		same("repair", record.EncodeRepair(m), err)
		c, err := record.DecodeCopy(b)
		same("copy", record.EncodeCopy(&c), err)
		h, err := record.DecodeMembers(b, len(b)/8)
		same("members", record.EncodeMembers(h), err)
		p, err := record.DecodePosition(b)
		same("position", record.EncodePosition(p), err)
	})
}
