package objects

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"hangar/shared/blockapi"
	"hangar/shared/metaapi"
	"hangar/shared/object"
	"hangar/shared/record"
)

// ahead is another gateway on the same rows and blocks, with another clock.
func (w *world) ahead(by time.Duration) *world {
	cfg := w.cfg
	cfg.Now = func() time.Time { return w.clock().Add(by) }
	return &world{
		Service: New(w.rows, w.blocks, slog.New(slog.DiscardHandler), cfg),
		rows:    w.rows, blocks: w.blocks, bucket: w.bucket,
	}
}

// A sweep by a gateway whose clock is ahead must not take away what another is
// still writing and has not claimed yet.
func TestSweepByAClockAheadSparesWritesUnderWay(t *testing.T) {
	w := newWorld(t)
	other := w.ahead(24 * time.Hour)
	data := content0(3 * testBlock * testPage)
	body := &pausedBody{Body: bodyOf(data), n: 5 * testBlock * testPage / 2, pause: func() {
		if n := w.manifestRows(t); n == 0 {
			t.Error("nothing to spare yet")
		}
		other.sweepAll(t)
	}}
	if _, err := w.Put(t.Context(), PutInput{Location: w.at("k"), Body: body}); err != nil {
		t.Fatal(err)
	}
	w.wants(t, "k", data)
}

// The same of the manifest of a part that is being uploaded while another part
// of the same upload is cleaned up after.
func TestHintOfAPartSparesItsNeighbours(t *testing.T) {
	w := newWorld(t)
	h := hint{Released: blockapi.Released{
		Bucket: w.bucket, Version: object.NewVersionID(),
	}, manifests: true}
	if h.prefix() != record.ManifestPrefix(h.Version) {
		t.Error("all manifests of a version are meant")
	}
	h.Manifest = record.NewManifestID(h.Version, 7)
	if h.prefix() != string(h.Manifest[:]) {
		t.Error("one manifest is meant")
	}
}

// A claim must hold for a judge whose clock is ahead, too.
func TestClaimHoldsByAClockAhead(t *testing.T) {
	w := newWorld(t)
	other := w.ahead(24 * time.Hour)
	data := content0(6 * testBlock * testPage)
	var got blockapi.Verdict
	judged := &pausedBody{Body: bodyOf(data), n: 4 * testBlock * testPage, pause: func() {
		page, err := w.rows.Scan(t.Context(), metaapi.Range{Table: metaapi.Manifests, Bucket: w.bucket, Limit: 1})
		if err != nil || len(page.Entries) != 1 {
			t.Errorf("%+v, %v", page, err)
			return
		}
		o, _, err := manifestOwner(w.bucket, page.Entries[0])
		if err != nil {
			t.Error(err)
		}
		if got, err = other.verifier.Verify(context.Background(), o); err != nil {
			t.Error(err)
		}
	}}
	body := &pausedBody{Body: judged, n: 2 * testBlock * testPage, pause: func() { w.pass(w.cfg.ClaimAfter + time.Second) }}
	if _, err := w.Put(t.Context(), PutInput{Location: w.at("k"), Body: body}); err != nil {
		t.Fatal(err)
	}
	if got != blockapi.Alive {
		t.Errorf("verdict %d on a claimed stream", got)
	}
}

// A completion may read a part just before it is replaced: the content it read
// must not be called dead while the object's row is on its way. Here the part's
// write had been hidden at a minority, surfaced to the completion, and was
// replaced, all between two looks of the verifier.
func TestNoDeadVerdictOnAPartThatACompletionHasRead(t *testing.T) {
	w := newWorld(t)
	id := w.create(t, "k")
	w.part(t, "k", id, 1, content0(20), "")
	key := record.PartKey(w.bucket, "k", id, 1)
	row, err := w.rows.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	part, err := record.DecodePartHead(row.Value.Head)
	if err != nil {
		t.Fatal(err)
	}
	w.part(t, "k", id, 1, content0(21), "")
	o := blockapi.Owner{Bucket: w.bucket, Key: "k", Version: id, Manifest: part.Manifest.ID, Part: 1}
	held := false
	w.rows.spoil(func(op string, at metaapi.RowKey) error {
		if at == key && op == "update" {
			held = true
			_, err := w.hold(t.Context(), w.at("k"), id)
			return err
		}
		return nil
	})
	w.judges(t, "part that was read", o, blockapi.Alive)
	if !held {
		t.Error("the part was never settled")
	}
}
