package metaapi_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"hangar/shared/fault"
	"hangar/shared/metaapi"
	"hangar/shared/object"
	"hangar/shared/register"
)

// TestConsistencyModes: with two of three nodes gone, what works follows the
// mode, which changes while the client is in use.
func TestConsistencyModes(t *testing.T) {
	c := newCluster(t, 3, 3)
	var readOne, writeOne atomic.Bool
	client := metaapi.NewClient(c.net, c.rings, register.NewClock(register.NewNode(), time.Now),
		metaapi.Options{Timing: testTiming(), ReadOne: readOne.Load, WriteOne: writeOne.Load})
	for i := range 20 {
		if _, err := client.Put(t.Context(), key(fmt.Sprintf("k%02d", i)), val("old")); err != nil {
			t.Fatal(err)
		}
	}
	c.net.Settle()
	c.net.Cut(c.nodes[0], true)
	c.net.Cut(c.nodes[2], true)
	soon := func() context.Context {
		ctx, cancel := context.WithTimeout(t.Context(), 400*time.Millisecond)
		t.Cleanup(cancel)
		return ctx
	}
	operations := map[string]func() error{
		"get": func() error {
			row, err := client.Get(soon(), key("k03"))
			if err == nil && (row.Value == nil || string(row.Value.Body) != "body of old") {
				t.Errorf("read %+v", row)
			}
			return err
		},
		"scan": func() error {
			page, err := client.Scan(soon(), metaapi.Range{Table: metaapi.Objects, Bucket: bucket, Limit: 100})
			if err == nil && len(page.Entries) < 20 {
				t.Errorf("listed %d entries", len(page.Entries))
			}
			return err
		},
		"put": func() error { _, err := client.Put(soon(), key("new"), val("new")); return err },
		"update": func() error {
			_, err := client.Update(soon(), key("k04"), func(metaapi.Row) (*metaapi.Value, error) { return val("new"), nil })
			return err
		},
	}
	for _, mode := range []struct {
		name                string
		readOne, writeOne   bool
		get, put, condition bool // what works
	}{
		{name: "consistent"},
		{name: "degraded", readOne: true, get: true},
		{name: "dangerous", readOne: true, writeOne: true, get: true, put: true},
		{name: "consistent again"},
	} {
		t.Run(mode.name, func(t *testing.T) {
			readOne.Store(mode.readOne)
			writeOne.Store(mode.writeOne)
			works := map[string]bool{"get": mode.get, "scan": mode.get, "put": mode.put, "update": mode.condition}
			for name, do := range operations {
				err := do()
				if works[name] && err != nil || !works[name] && !fault.Is(err, fault.Unavailable) && !fault.Is(err, fault.Indeterminate) {
					t.Errorf("%s: %v", name, err)
				}
			}
		})
	}
}

// TestRepair: a node that was away gets what it missed, a deletion too, and
// nothing is written where all is well.
func TestRepair(t *testing.T) {
	c := newCluster(t, 3, 3)
	put := func(k string, v *metaapi.Value) {
		t.Helper()
		if _, err := c.client.Put(t.Context(), key(k), v); err != nil {
			t.Fatal(err)
		}
		c.net.Settle()
	}
	put("kept", val("old"))
	put("deleted", val("old"))
	away := c.nodes[1]
	c.net.Cut(away, true)
	put("kept", val("new"))
	put("deleted", nil)
	repair := func(k string) (metaapi.Repaired, error) {
		return c.client.Repair(t.Context(), key(k), c.nodes[0], away)
	}
	if r, err := repair("kept"); err != nil || r.Both || r.Carried {
		t.Errorf("with a node away: %+v, %v", r, err)
	}
	c.net.Cut(away, false)
	for _, k := range []string{"kept", "deleted"} {
		r, err := repair(k)
		if err != nil || !r.Both || !r.Carried {
			t.Errorf("%s: %+v, %v", k, r, err)
		}
		c.net.Settle()
		for n, tag := range holders(t, c, k) {
			if tag != r.Tag {
				t.Errorf("%s: node %v has %v, not %v", k, n, tag, r.Tag)
			}
		}
		if r, err = repair(k); err != nil || !r.Both || r.Carried {
			t.Errorf("%s again: %+v, %v", k, r, err)
		}
	}
	if row, err := c.client.Get(t.Context(), key("deleted")); err != nil || row.Value != nil {
		t.Errorf("a deleted row reads %+v, %v", row, err)
	}
	if r, err := repair("never"); err != nil || !r.Tag.IsZero() || r.Carried {
		t.Errorf("a row never written: %+v, %v", r, err)
	}
}

// holders is the tag under which each reachable node has a row.
func holders(t *testing.T, c *cluster, k string) map[object.NodeID]register.Tag {
	t.Helper()
	tags := map[object.NodeID]register.Tag{}
	for n, r := range c.replicas {
		reply, err := r.Handle(t.Context(), key(k), register.Request{Kind: register.Read, Epoch: 1})
		if err != nil {
			t.Fatal(err)
		}
		tags[n] = reply.Row.Tag
	}
	return tags
}
