package index

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"hangar/shared/blockapi"
	"hangar/shared/blockapi/blocktest"
	"hangar/shared/fault"
	"hangar/shared/segment"
)

func TestRecordsRoundTrip(t *testing.T) {
	b := Block{
		Location: segment.Location{Segment: 1 << 40, Offset: 1 << 50, StoredBytes: 8 << 20, Checksum: 1<<64 - 1},
		Encoding: blockapi.Zstd, PlainBytes: 8 << 20, Refs: 1 << 31,
	}
	if got, err := decodeBlock(b.encode()); err != nil || got != b {
		t.Errorf("%+v, %v", got, err)
	}
	o := Owner{Owner: blocktest.Owner(), Touched: 300 * 24 * time.Hour}
	if got, err := decodeOwner(IDOf(o.Owner), o.encode()); err != nil || got != o {
		t.Errorf("%+v, %v", got, err)
	}
	u := Usage{LiveBytes: 1 << 40, LiveBlocks: 7, End: 1 << 41}
	if got, err := decodeUsage(u.encode()); err != nil || got != u {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestHintMeansItsOwners(t *testing.T) {
	o := blocktest.Owner()
	id := IDOf(o)
	hint := blockapi.Released{Bucket: o.Bucket, Key: o.Key, Version: o.Version}
	narrow := hint
	narrow.Manifest = o.Manifest
	other := hint
	other.Key += "x"
	for _, c := range []struct {
		hint blockapi.Released
		want bool
	}{{hint, true}, {narrow, true}, {other, false}, {blockapi.Released{Version: o.Version}, false}} {
		if got := bytes.HasPrefix(id[:], releasedPrefix(c.hint)); got != c.want {
			t.Errorf("%+v: got %v", c.hint, got)
		}
	}
}

// FuzzRecords: stored bytes may be anything; decoders refuse them as Corrupt or
// give back what encodes to the same.
func FuzzRecords(f *testing.F) {
	f.Add(Block{Location: segment.Location{StoredBytes: 1}}.encode())
	f.Add(Owner{Owner: blocktest.Owner()}.encode())
	f.Add(Usage{End: 5}.encode())
	f.Add([]byte(strings.Repeat("\x01", 60)))
	f.Fuzz(func(t *testing.T, v []byte) {
		same := func(what string, err error, again []byte) {
			switch {
			case err != nil && !fault.Is(err, fault.Corrupt):
				t.Errorf("%s refused with %v", what, err)
			case err == nil && !bytes.HasPrefix(v, again):
				t.Errorf("%s does not survive its encoding", what)
			}
		}
		b, err := decodeBlock(v)
		same("block", err, b.encode())
		o, err := decodeOwner(OwnerID{}, v)
		same("owner", err, o.encode())
		u, err := decodeUsage(v)
		same("usage", err, u.encode())
	})
}
