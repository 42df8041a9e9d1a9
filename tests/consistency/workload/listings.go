package workload

import (
	"context"
	"encoding/xml"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync/atomic"

	"hangar/tests/consistency/check"
)

// Listings puts keys that are used once, deletes some, and lists them. Keys
// live in folders of a few hundred, each of which has some folders of its own.
type Listings struct {
	Load
	made atomic.Int64
}

const (
	folderKeys = 250 // keys in a folder
	subfolders = 6   // folders in it
)

func (w *Listings) folder(n int64) string {
	return fmt.Sprintf("%sset/%d/", w.Prefix, n/folderKeys)
}

// Write is the life of a client that puts and deletes.
func (w *Listings) Write(ctx context.Context, client int) {
	rng := w.random(client)
	var mine []string // put and acknowledged
	for w.think(ctx, rng) {
		o := check.Op{Client: client}
		if len(mine) > 0 && rng.IntN(4) == 0 {
			i := rng.IntN(len(mine))
			o.Verb, o.Key = check.Delete, mine[i]
			mine[i] = mine[len(mine)-1]
			mine = mine[:len(mine)-1]
			o, _ = w.ask(ctx, rng, o, request{method: http.MethodDelete, key: o.Key})
			w.History.Add(o)
			continue
		}
		n := w.made.Add(1)
		o.Verb, o.Key = check.Put, fmt.Sprintf("%s%c/%d", w.folder(n), 'a'+rune(rng.IntN(subfolders)), n)
		o, _ = w.ask(ctx, rng, o, request{method: http.MethodPut, key: o.Key, body: []byte(o.Key)})
		if o.Verdict == check.Done {
			mine = append(mine, o.Key)
		}
		w.History.Add(o)
	}
}

// List is the life of a client that lists.
func (w *Listings) List(ctx context.Context, client int) {
	rng := w.random(client)
	for w.think(ctx, rng) {
		n := w.made.Load()
		if n >= folderKeys && rng.IntN(3) == 0 {
			n -= folderKeys // the folder before
		}
		o := check.Op{Client: client, Verb: check.List, Key: w.folder(n), Delimited: rng.IntN(3) == 0}
		pages := []int{1000, 1000, 100, 20, 3}
		w.History.Add(w.list(ctx, rng, o, pages[rng.IntN(len(pages))]))
	}
}

// page is one page of a listing.
type page struct {
	IsTruncated           bool
	NextContinuationToken string
	Contents              []struct{ Key string }
	CommonPrefixes        []struct{ Prefix string }
}

// list reads all pages of one listing, each through any gateway.
func (w *Listings) list(ctx context.Context, rng *rand.Rand, o check.Op, size int) check.Op {
	all := o
	token := ""
	for first := true; ; first = false {
		pairs := []string{"list-type", "2", "max-keys", fmt.Sprint(size), "prefix", o.Key}
		if o.Delimited {
			pairs = append(pairs, "delimiter", "/")
		}
		if token != "" {
			pairs = append(pairs, "continuation-token", token)
		}
		got, a := w.ask(ctx, rng, o, request{method: http.MethodGet, query: query(pairs...)})
		if first {
			all.Call, all.Via = got.Call, got.Via
		}
		all.Return, all.Verdict, all.Note = got.Return, got.Verdict, got.Note
		if got.Verdict != check.Done {
			return all
		}
		var p page
		if err := xml.Unmarshal(a.body, &p); err != nil {
			w.History.Violation("%s: not a listing: %v: %.200s", o, err, a.body)
			all.Verdict = check.Refused
			return all
		}
		for _, c := range p.Contents {
			all.Keys = append(all.Keys, c.Key)
		}
		for _, c := range p.CommonPrefixes {
			all.Keys = append(all.Keys, c.Prefix)
		}
		if !p.IsTruncated {
			return all
		}
		if token = p.NextContinuationToken; token == "" {
			w.History.Violation("%s: cut short without a way to go on", o)
			all.Verdict = check.Refused
			return all
		}
	}
}
