package objects

import (
	"testing"

	"hangar/shared/blockapi"
	"hangar/shared/fault"
	"hangar/shared/record"
)

// TestPurge: what needs a lost block goes, what has taken its place stays.
func TestPurge(t *testing.T) {
	w := newWorld(t)
	p := record.NewPurger(w.rows)
	purge := func(o blockapi.Owner, want blockapi.PurgeResult) {
		t.Helper()
		if got, err := p.Purge(t.Context(), o); err != nil || got != want {
			t.Errorf("purged %d, %v", got, err)
		}
	}
	w.put(t, "a", content0(50))
	old := w.owner(t, "a", 0)
	w.put(t, "a", content0(60))
	now := w.owner(t, "a", 0)
	purge(old, blockapi.PurgedNothing)
	w.wants(t, "a", content0(60))
	purge(now, blockapi.PurgedObject)
	purge(now, blockapi.PurgedNothing)
	if _, err := w.Head(t.Context(), w.at("a")); !fault.Is(err, fault.NotFound) {
		t.Errorf("after the purge: %v", err)
	}
}

// TestPurgeOfAnUpload: a part goes while nobody completes the upload, and can be
// uploaded again; once it is part of the object, that goes.
func TestPurgeOfAnUpload(t *testing.T) {
	w := newWorld(t)
	p := record.NewPurger(w.rows)
	id := w.create(t, "k")
	owner := func() blockapi.Owner {
		t.Helper()
		row, err := w.rows.Get(t.Context(), record.PartKey(w.bucket, "k", id, 1))
		if err != nil || row.Value == nil {
			t.Fatal(row, err)
		}
		part, err := record.DecodePartHead(row.Value.Head)
		if err != nil {
			t.Fatal(err)
		}
		return blockapi.Owner{Bucket: w.bucket, Key: "k", Version: id, Manifest: part.Manifest.ID, Part: 1}
	}
	w.part(t, "k", id, 1, content0(50), "")
	old := owner()
	part := w.part(t, "k", id, 1, content0(60), "")
	now := owner()
	held, err := w.hold(t.Context(), w.at("k"), id)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Purge(t.Context(), now); !fault.Is(err, fault.Conflict) {
		t.Errorf("while the upload is completed: %v", err)
	}
	w.giveUp(t.Context(), held)
	for _, c := range []struct {
		owner blockapi.Owner
		want  blockapi.PurgeResult
	}{{old, blockapi.PurgedNothing}, {now, blockapi.PurgedPart}, {now, blockapi.PurgedNothing}} {
		if got, err := p.Purge(t.Context(), c.owner); err != nil || got != c.want {
			t.Errorf("purged %d, not %d: %v", got, c.want, err)
		}
	}
	if _, err := w.finishUpload("k", id, part); err == nil {
		t.Fatal("an upload was completed with a part that is gone")
	}
	part = w.part(t, "k", id, 1, content0(60), "")
	if _, err := w.finishUpload("k", id, part); err != nil {
		t.Fatal(err)
	}
	if got, err := p.Purge(t.Context(), w.owner(t, "k", 1)); err != nil || got != blockapi.PurgedObject {
		t.Errorf("purged %d: %v", got, err)
	}
}
