package journal

import (
	"bytes"
	"testing"

	"hangar/shared/fault"
	"hangar/shared/kv"
	"hangar/shared/object"
)

func TestBatchSurvivesItsEncoding(t *testing.T) {
	var b, got kv.Batch
	b.Set([]byte("a"), []byte("1"))
	b.Delete([]byte("b"))
	b.Set([]byte("c"), nil)
	b.Set(bytes.Repeat([]byte("k"), 300), bytes.Repeat([]byte("v"), 100_000))
	data := appendBatch(nil, &b)
	if len(data) > b.Bytes() {
		t.Errorf("%d bytes for a batch of %d", len(data), b.Bytes())
	}
	if err := decodeBatch(data, &got); err != nil {
		t.Fatal(err)
	}
	if again := appendBatch(nil, &got); !bytes.Equal(again, data) {
		t.Error("other changes came back")
	}
	if err := decodeBatch([]byte{batchVersion + 1}, &got); !fault.Is(err, fault.Invalid) {
		t.Errorf("a newer format: %v", err)
	}
}

func TestSeq(t *testing.T) {
	if n, ok := Seq(name(77)); !ok || n != 77 {
		t.Errorf("%d, %v", n, ok)
	}
	if _, ok := Seq(object.Hash{1}); ok {
		t.Error("a hash is taken for a record of the journal")
	}
}

func FuzzDecodeBatch(f *testing.F) {
	var b kv.Batch
	b.Set([]byte("key"), []byte("value"))
	b.Delete([]byte("other"))
	f.Add(appendBatch(nil, &b))
	f.Add([]byte{batchVersion, opSet, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, data []byte) {
		var b, again kv.Batch
		if err := decodeBatch(data, &b); err != nil {
			if !fault.Is(err, fault.Corrupt) && !fault.Is(err, fault.Invalid) {
				t.Fatalf("an error of another kind: %v", err)
			}
			return
		}
		encoded := appendBatch(nil, &b)
		if err := decodeBatch(encoded, &again); err != nil || len(again.Ops()) != len(b.Ops()) {
			t.Fatalf("%d changes became %d, %v", len(b.Ops()), len(again.Ops()), err)
		}
	})
}
