package objects

import (
	"bytes"
	"context"
	"errors"
	"io"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"hangar/shared/blockapi"
	"hangar/shared/fault"
	"hangar/shared/metaapi"
	"hangar/shared/object"
	"hangar/shared/record"
)

// owner is the owner of the only manifest, or that of a part, of an object.
func (w *world) owner(t *testing.T, key string, part int) blockapi.Owner {
	t.Helper()
	f, err := w.find(t.Context(), w.at(key))
	if err != nil {
		t.Fatal(err)
	}
	o := blockapi.Owner{Bucket: w.bucket, Key: key, Version: f.head.Version, Manifest: f.body.Manifest.ID, Part: int32(part)}
	for _, p := range f.body.Parts {
		if p.Number == part {
			o.Manifest = p.Manifest.ID
		}
	}
	return o
}

func (w *world) judges(t *testing.T, what string, o blockapi.Owner, want blockapi.Verdict) {
	t.Helper()
	got, err := w.verifier.Verify(t.Context(), o)
	if err != nil || got != want {
		t.Errorf("%s: verdict %d, want %d (%v)", what, got, want, err)
	}
}

func TestVerdicts(t *testing.T) {
	w := newWorld(t)
	w.put(t, "listed", content0(50))
	w.put(t, "paged", content0(500))
	for _, key := range []string{"listed", "paged"} {
		o := w.owner(t, key, 0)
		w.judges(t, key, o, blockapi.Alive)
		stranger := o
		stranger.Manifest[3] ^= 1
		w.judges(t, "another manifest", stranger, blockapi.Dead)
		stranger = o
		stranger.Part = 1
		w.judges(t, "a part of a plain object", stranger, blockapi.Dead)
		stranger = o
		stranger.Version[3] ^= 1
		w.judges(t, "another version", stranger, blockapi.Dead)
		w.rows.spoil(func(string, metaapi.RowKey) error { return fault.New(fault.Unavailable, "no quorum") })
		if v, err := w.verifier.Verify(t.Context(), o); v != blockapi.Unknown || err == nil {
			t.Errorf("no quorum: %d, %v", v, err)
		}
		w.rows.spoil(nil)
		w.put(t, key, []byte("x"))
		w.judges(t, "replaced", o, blockapi.Dead)
		w.wants(t, key, []byte("x"))
	}
}

func TestVerdictsOfAnUpload(t *testing.T) {
	w := newWorld(t)
	id := w.create(t, "k")
	var owners []blockapi.Owner
	w.rows.spoil(func(op string, key metaapi.RowKey) error {
		if key.Table == metaapi.Manifests && op == "put" {
			m, _, err := record.ParseManifestKey(key.Key)
			owners = append(owners, blockapi.Owner{Bucket: w.bucket, Key: "k", Version: id, Manifest: m, Part: 1})
			return err
		}
		return nil
	})
	w.part(t, "k", id, 1, content0(20), "")
	part := w.part(t, "k", id, 1, content0(21), "")
	w.rows.spoil(nil)
	old, now := owners[0], owners[1]
	w.judges(t, "replaced part", old, blockapi.Dead)
	w.judges(t, "part", now, blockapi.Alive)

	held, err := w.hold(t.Context(), w.at("k"), id)
	if err != nil {
		t.Fatal(err)
	}
	w.judges(t, "replaced part of a held upload", old, blockapi.Alive)
	w.pass(24 * time.Hour)
	w.judges(t, "replaced part of an upload held for long", old, blockapi.Alive)
	w.giveUp(t.Context(), held)
	w.judges(t, "replaced part after that", old, blockapi.Dead)

	if _, err := w.finishUpload("k", id, part); err != nil {
		t.Fatal(err)
	}
	w.judges(t, "part of the object", now, blockapi.Alive)
	w.judges(t, "other part of the object", old, blockapi.Dead)
	if _, err := w.Copy(t.Context(), CopyInput{Source: w.at("k"), Target: w.at("copy")}); err != nil {
		t.Fatal(err)
	}
	w.judges(t, "part of a copy", w.owner(t, "copy", 1), blockapi.Alive)
	if err := w.Delete(t.Context(), w.at("k"), WriteConditions{}); err != nil {
		t.Fatal(err)
	}
	w.judges(t, "part of a deleted object", now, blockapi.Dead)
	w.judges(t, "part of a copy", w.owner(t, "copy", 1), blockapi.Alive)

	id = w.create(t, "k")
	w.rows.spoil(func(op string, key metaapi.RowKey) error {
		if key.Table == metaapi.Manifests && op == "put" {
			m, _, err := record.ParseManifestKey(key.Key)
			now = blockapi.Owner{Bucket: w.bucket, Key: "k", Version: id, Manifest: m, Part: 2}
			return err
		}
		return nil
	})
	w.part(t, "k", id, 2, content0(20), "")
	w.rows.spoil(nil)
	if err := w.AbortUpload(t.Context(), w.at("k"), id); err != nil {
		t.Fatal(err)
	}
	w.judges(t, "part of an aborted upload", now, blockapi.Dead)
}

// hiddenWrite is a table in which one write sits at a minority of replicas: a
// plain read may miss it, an update surfaces it.
type hiddenWrite struct {
	metaapi.Rows
	key    metaapi.RowKey
	hidden *metaapi.Value
}

func (h *hiddenWrite) Update(ctx context.Context, key metaapi.RowKey, decide metaapi.Update) (metaapi.Written, error) {
	if key == h.key && h.hidden != nil {
		if _, err := h.Put(ctx, key, h.hidden); err != nil {
			return metaapi.Written{}, err
		}
		h.hidden = nil
	}
	return h.Rows.Update(ctx, key, decide)
}

// A write that was never acknowledged may still surface: its blocks must not
// be called dead before it cannot any more.
func TestNoDeadVerdictOnAnUnsettledWrite(t *testing.T) {
	w := newWorld(t)
	w.put(t, "k", content0(50))
	key := record.ObjectKey(w.bucket, "k")
	row, err := w.rows.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	o := w.owner(t, "k", 0)
	w.put(t, "k", content0(51))
	rows := &hiddenWrite{Rows: w.rows, key: key, hidden: row.Value}
	got, err := record.NewVerifier(rows, w.clock).Verify(t.Context(), o)
	if err != nil || got != blockapi.Alive {
		t.Errorf("verdict %d, %v", got, err)
	}
	w.wants(t, "k", content0(50))
}

// pausedBody runs a function once it has given n bytes.
type pausedBody struct {
	Body
	n     int
	pause func()
}

func (p *pausedBody) Read(b []byte) (int, error) {
	n, err := p.Body.Read(b[:min(len(b), 5)])
	if p.n -= n; p.n <= 0 && p.pause != nil {
		p.pause()
		p.pause = nil
	}
	return n, err
}

func TestLongStreamClaimsItsBlocks(t *testing.T) {
	w := newWorld(t)
	data := content0(6 * testBlock * testPage)
	var verdicts []blockapi.Verdict
	slow := func() {
		w.pass(w.cfg.ClaimAfter + time.Second)
	}
	body := &pausedBody{Body: bodyOf(data), n: 2 * testBlock * testPage, pause: slow}
	check := &pausedBody{Body: body, n: 4 * testBlock * testPage, pause: func() {
		w.pass(w.cfg.ClaimAfter * stallLimit)
		page, err := w.rows.Scan(t.Context(), metaapi.Range{Table: metaapi.Manifests, Bucket: w.bucket, Limit: 1})
		if err != nil || len(page.Entries) != 1 {
			t.Errorf("%+v, %v", page, err)
			return
		}
		o, _, err := manifestOwner(w.bucket, page.Entries[0])
		if err != nil {
			t.Error(err)
		}
		v, err := w.verifier.Verify(context.Background(), o)
		if err != nil {
			t.Error(err)
		}
		verdicts = append(verdicts, v)
	}}
	if _, err := w.Put(t.Context(), PutInput{Location: w.at("k"), Body: check}); err != nil {
		t.Fatal(err)
	}
	if len(verdicts) != 1 || verdicts[0] != blockapi.Alive {
		t.Errorf("verdicts %v", verdicts)
	}
	w.wants(t, "k", data)
	page, err := w.rows.Scan(t.Context(), metaapi.Range{Table: metaapi.Parts, Bucket: w.bucket, Limit: 10})
	if err != nil || len(page.Entries) != 0 {
		t.Errorf("claims left: %+v, %v", page, err)
	}
}

func TestStalledStreamFails(t *testing.T) {
	w := newWorld(t)
	body := &pausedBody{Body: bodyOf(content0(500)), n: 100, pause: func() {
		w.pass(w.cfg.ClaimAfter*stallLimit + time.Minute)
	}}
	if _, err := w.Put(t.Context(), PutInput{Location: w.at("k"), Body: body}); !fault.Is(err, fault.Unavailable) {
		t.Error(err)
	}
	w.wantsNone(t, "k")
}

func TestRunPassesHintsOnAndRemovesManifests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *Config) { c.Now = time.Now })
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- w.Run(ctx) }()
		w.put(t, "paged", content0(500))
		version := w.owner(t, "paged", 0).Version
		w.put(t, "paged", nil)
		synctest.Wait()
		released := w.blocks.Released()
		if len(released) != 1 || released[0] != (blockapi.Released{Bucket: w.bucket, Key: "paged", Version: version}) {
			t.Errorf("%+v", released)
		}
		if n := w.manifestRows(t); n != 8 {
			t.Errorf("%d manifest rows before their grace is over", n)
		}
		time.Sleep(w.cfg.Grace + time.Minute)
		if n := w.manifestRows(t); n != 0 {
			t.Errorf("%d manifest rows after it", n)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func (w *world) manifestRows(t *testing.T) int {
	t.Helper()
	page, err := w.rows.Scan(t.Context(), metaapi.Range{Table: metaapi.Manifests, Bucket: w.bucket, Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	return len(page.Entries)
}

func TestHintsAreBounded(t *testing.T) {
	w := newWorld(t)
	for range maxHints + 10 {
		w.hint(hint{})
	}
	if len(w.hints) != maxHints {
		t.Error(len(w.hints))
	}
}

func TestSweepSparesTheLivingAndTheYoung(t *testing.T) {
	w := newWorld(t)
	data := content0(5 * testBlock * testPage)
	w.put(t, "alive", data)
	w.put(t, "dead", data)
	w.put(t, "dead", nil)
	w.sweepAll(t)
	if n := w.manifestRows(t); n != 10 {
		t.Errorf("%d rows before their grace is over", n)
	}
	w.pass(w.cfg.SweepAge)
	w.sweepAll(t)
	if n := w.manifestRows(t); n != 5 {
		t.Errorf("%d rows after it", n)
	}
	w.wants(t, "alive", data)
}

// dropping keeps nothing of what it is given.
type dropping struct{ blockapi.Store }

func (dropping) Put(context.Context, blockapi.Owner, []byte) (object.Hash, error) {
	return object.Hash{1}, nil
}

// zeros is a body of that many zero bytes.
type zeros struct{ left int64 }

func (z *zeros) Read(p []byte) (int, error) {
	if z.left == 0 {
		return 0, io.EOF
	}
	n := min(int64(len(p)), z.left)
	z.left -= n
	return int(n), nil
}
func (z *zeros) Size() int64        { return -1 }
func (z *zeros) MD5() (m [16]byte)  { return m }
func (z *zeros) Checksum() Checksum { return Checksum{} }

// 20 GiB through one Put: memory must not follow.
func TestLargeObjectInConstantMemory(t *testing.T) {
	w := newWorld(t, func(c *Config) {
		*c = Config{}
	})
	w.Service.blocks = dropping{w.blocks}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	peak := uint64(0)
	const size = 20 << 30
	body := &watchedZeros{zeros{size}, func() {
		runtime.GC() // what is live counts, not when it was last collected
		runtime.ReadMemStats(&after)
		peak = max(peak, after.HeapAlloc)
	}, 0}
	info, err := w.Put(t.Context(), PutInput{Location: w.at("k"), Body: body})
	if err != nil || info.Size != size {
		t.Fatalf("%+v, %v", info, err)
	}
	if grown := int64(peak) - int64(before.HeapAlloc); grown > 24<<20 {
		t.Errorf("the heap grew by %d bytes", grown)
	}
	if f, err := w.find(t.Context(), w.at("k")); err != nil || f.body.Manifest.Pages() != 20 {
		t.Errorf("%+v, %v", f, err)
	}
}

// watchedZeros looks at memory now and then.
type watchedZeros struct {
	zeros
	look func()
	n    int
}

func (p *watchedZeros) Read(b []byte) (int, error) {
	if p.n++; p.n%1024 == 0 {
		p.look()
	}
	return p.zeros.Read(b)
}

func TestTooLargeAPart(t *testing.T) {
	w := newWorld(t, func(c *Config) { *c = Config{} })
	w.Service.blocks = dropping{w.blocks}
	id := w.create(t, "k")
	_, err := w.UploadPart(t.Context(), PartInput{Location: w.at("k"), Upload: id, Number: 1, Body: &zeros{MaxPartBytes + 1}})
	if !errors.Is(err, ErrEntityTooLarge) {
		t.Error(err)
	}
}

func BenchmarkPut4KiB(b *testing.B) {
	w := newWorld(b, func(c *Config) { *c = Config{} })
	data := bytes.Repeat([]byte("x"), 4096)
	b.ReportAllocs()
	for b.Loop() {
		in := PutInput{Location: w.at("k"), Body: &plainBody{Reader: *bytes.NewReader(data)}}
		if _, err := w.Put(b.Context(), in); err != nil {
			b.Fatal(err)
		}
	}
}

// plainBody computes nothing, so that benchmarks show only this package.
type plainBody struct{ bytes.Reader }

func (p *plainBody) MD5() (m [16]byte)  { return m }
func (p *plainBody) Checksum() Checksum { return Checksum{} }

func BenchmarkGet4KiB(b *testing.B) {
	w := newWorld(b, func(c *Config) { *c = Config{} })
	w.put(b, "k", bytes.Repeat([]byte("x"), 4096))
	b.ReportAllocs()
	for b.Loop() {
		_, r, err := w.Get(b.Context(), GetInput{Location: w.at("k")})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := r.(io.WriterTo).WriteTo(io.Discard); err != nil {
			b.Fatal(err)
		}
		r.Close()
	}
}

// fixedPage answers every scan with the same page.
type fixedPage struct {
	metaapi.Rows
	page metaapi.Page
}

func (f fixedPage) Scan(context.Context, metaapi.Range) (metaapi.Page, error) { return f.page, nil }

func BenchmarkList1000(b *testing.B) {
	w := newWorld(b)
	head := record.ObjectHead{Version: object.NewVersionID(), Modified: w.clock(), Size: 12345}
	page := metaapi.Page{}
	for range 1000 {
		page.Entries = append(page.Entries, metaapi.Entry{Key: "some/key", Head: head.Append(nil)})
	}
	w.Service.rows = fixedPage{w.rows, page}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := w.List(b.Context(), ListInput{Bucket: w.bucket, Limit: 1000}); err != nil {
			b.Fatal(err)
		}
	}
}
