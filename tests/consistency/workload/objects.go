package workload

import (
	"bytes"
	"context"
	"encoding/xml"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"hangar/tests/consistency/check"
)

// Objects overwrites a few objects of several blocks, at once and in parts,
// while they are read, whole and in ranges. What is read must be one of the
// versions, byte for byte; which one is a register's business.
type Objects struct {
	Load
	Keys int
	// Room is how many bytes may be written in all, 0 for any number: what is
	// overwritten is kept for a while, and a node whose disk is full for good
	// does not serve again when faults end. They are spread over Length, after
	// which only reads go on.
	Room    int64
	Length  time.Duration
	used    atomic.Int64
	written atomic.Int64
}

// room takes n bytes of what may be written by now.
func (w *Objects) room(n int) bool {
	if w.Room == 0 {
		return true
	}
	const ahead = 0.1 // of all may be written at once
	share := min(1, ahead+w.History.Now().Seconds()/w.Length.Seconds())
	if w.written.Add(int64(n)) <= int64(share*float64(w.Room)) {
		return true
	}
	w.written.Add(-int64(n))
	return false
}

const (
	objectLife = 120     // operations before all keys are given up for others
	partBytes  = 5 << 20 // the least that S3 allows for all parts but the last
)

// valueHeader carries the name of the content with the object, so that a range
// of it can be checked.
const valueHeader = "X-Amz-Meta-Value"

// Run is one client's life.
func (w *Objects) Run(ctx context.Context, client int) {
	rng := w.random(client)
	for n := 0; w.think(ctx, rng); n++ {
		generation := w.used.Add(1) / objectLife
		o := check.Op{Client: client, Key: fmt.Sprintf("%slarge/%d-%d", w.Prefix, rng.IntN(w.Keys), generation)}
		what, size, part := rng.IntN(10), 1<<20+rng.IntN(3<<20), partBytes+1+rng.IntN(2<<20)
		if what < 3 && !w.room(size) || what == 3 && !w.room(part) {
			what = 9
		}
		switch what {
		case 0, 1, 2:
			o.Verb, o.Value = check.Put, valueName(client, n, size)
			o, _ = w.ask(ctx, rng, o, request{
				method: http.MethodPut, key: o.Key, body: contentOf(o.Value), header: map[string]string{valueHeader: o.Value},
			})
		case 3:
			o.Verb, o.Value = check.Put, valueName(client, n, part)
			o = w.upload(ctx, rng, o)
		case 4:
			o.Verb = check.Delete
			o, _ = w.ask(ctx, rng, o, request{method: http.MethodDelete, key: o.Key})
		case 5, 6:
			o.Verb = check.Get
			o = w.readRange(ctx, rng, o)
		default:
			o.Verb = check.Get
			o = w.read(ctx, rng, o)
		}
		w.History.Add(o)
	}
}

func (w *Objects) read(ctx context.Context, rng *rand.Rand, o check.Op) check.Op {
	o, a := w.ask(ctx, rng, o, request{method: http.MethodGet, key: o.Key})
	if o.Verdict != check.Done || a.status == http.StatusNotFound {
		return o
	}
	var err error
	if o.Read, err = valueIn(a.body); err != nil {
		w.History.Violation("%s read %v", o, err)
		o.Verdict = check.Refused
	} else if named := a.header.Get(valueHeader); named != o.Read {
		w.History.Violation("%s came with the metadata of %s", o, named)
	}
	return o
}

func (w *Objects) readRange(ctx context.Context, rng *rand.Rand, o check.Op) check.Op {
	from := rng.IntN(1 << 20)
	to := from + rng.IntN(2<<20)
	o, a := w.ask(ctx, rng, o, request{method: http.MethodGet, key: o.Key, header: map[string]string{"Range": fmt.Sprintf("bytes=%d-%d", from, to)}})
	if o.Verdict != check.Done || a.status == http.StatusNotFound {
		return o
	}
	o.Read = a.header.Get(valueHeader)
	whole := contentOf(o.Read)
	to = min(to+1, len(whole))
	if want := fmt.Sprintf("bytes %d-%d/%d", from, to-1, len(whole)); a.status != http.StatusPartialContent || a.header.Get("Content-Range") != want {
		w.History.Violation("%s: a range is answered %d %q, want %q", o, a.status, a.header.Get("Content-Range"), want)
	} else if !bytes.Equal(a.body, whole[from:to]) {
		w.History.Violation("%s: bytes %d to %d are not those that were written", o, from, to)
	}
	return o
}

// upload writes an object in two parts. Only the completion makes it: what
// fails before it has surely changed nothing.
func (w *Objects) upload(ctx context.Context, rng *rand.Rand, o check.Op) check.Op {
	body := contentOf(o.Value)
	begun := w.History.Now()
	refused := func(a answer, what string) check.Op {
		o.Call, o.Return, o.Verdict, o.Note = begun, w.History.Now(), check.Refused, strings.TrimSpace(what+" "+a.note())
		return o
	}
	_, a := w.ask(ctx, rng, o, request{method: http.MethodPost, key: o.Key, query: "uploads=", header: map[string]string{valueHeader: o.Value}})
	if a.status != http.StatusOK {
		return refused(a, "begin of upload")
	}
	var up struct {
		UploadID string `xml:"UploadId"`
	}
	if err := xml.Unmarshal(a.body, &up); err != nil || up.UploadID == "" {
		w.History.Violation("%s: begin of upload: %v: %.200s", o, err, a.body)
		return refused(a, "begin of upload")
	}
	var list strings.Builder
	list.WriteString("<CompleteMultipartUpload>")
	for i, part := range [][]byte{body[:partBytes], body[partBytes:]} {
		q := query("partNumber", fmt.Sprint(i+1), "uploadId", up.UploadID)
		if _, a = w.ask(ctx, rng, o, request{method: http.MethodPut, key: o.Key, query: q, body: part}); a.status != http.StatusOK {
			return refused(a, "part")
		}
		fmt.Fprintf(&list, "<Part><PartNumber>%d</PartNumber><ETag>%s</ETag></Part>", i+1, a.header.Get("ETag"))
	}
	list.WriteString("</CompleteMultipartUpload>")
	o, a = w.ask(ctx, rng, o, request{method: http.MethodPost, key: o.Key, query: query("uploadId", up.UploadID), body: []byte(list.String())})
	if o.Verdict == check.Done && bytes.Contains(a.body, []byte("<Error>")) {
		o.Verdict, o.Note = check.Maybe, "error after the status"
	}
	return o
}
