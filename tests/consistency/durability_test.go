package consistency

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"hangar/tests/consistency/nemesis"
	"hangar/tests/harness/fleet"
)

// TestDurability: what was acknowledged is there, whole, through each gateway,
// with any zone away, and after nodes have left or lost their disks.
func TestDurability(t *testing.T) {
	objects := 600
	if long() {
		objects = 10_000
	}
	s := seed(t)
	t.Logf("seed %d", s)
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	c, err := Start(t, Shape{Meta: 3, Blocks: 3, Gateways: 3, Bin: bin(t)})
	if err != nil {
		t.Fatal(err)
	}
	d := &Durability{Cluster: c, Seed: s, Objects: objects, Writers: 12, Say: t.Logf}
	if err := d.Write(ctx); err != nil {
		t.Fatal(err)
	}
	read := func(what, away string) {
		t.Helper()
		for _, w := range d.Read(ctx, what, away) {
			t.Errorf("seed %d: %s", s, w)
		}
	}
	away := func(when string) {
		t.Helper()
		for i := range zones {
			back, err := d.Away(ctx, zoneName(i))
			if err != nil {
				t.Fatal(err)
			}
			read(when+zoneName(i)+" away", zoneName(i))
			if err := back(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if long() { // the short form sees to it only in the end
		away("")
	}
	n := nemesis.Nemesis{Cluster: c, Now: func() time.Duration { return 0 }, Say: t.Logf}
	// In the long form every node in turn, else one of each service.
	chosen := rand.New(rand.NewPCG(s, 7)).IntN(zones)
	for _, service := range []string{fleet.Meta, fleet.Blocks} {
		for zone := range zones {
			if !long() && zone != chosen {
				continue
			}
			// One more in its zone: others would be left with two copies in one.
			if err := n.Grow(ctx, service, zoneName(zone)); err != nil {
				t.Fatal(err)
			}
			gone := fmt.Sprintf("%s-%d", service, zone+1)
			if err := n.Shrink(ctx, gone); err != nil {
				t.Fatal(err)
			}
			read(gone+" removed", "")
		}
	}
	for _, service := range []string{fleet.Meta, fleet.Blocks} {
		for i, lost := range n.Named(service) {
			if !long() && i != chosen {
				continue
			}
			if err := n.Wipe(ctx, service, lost); err != nil {
				t.Fatal(err)
			}
			read(lost+" wiped and replaced", "")
		}
	}
	away("after all that, ")
}

// long asks for the long form of a test.
func long() bool { return os.Getenv("HANGAR_LONG") != "" }
