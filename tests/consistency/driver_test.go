package consistency

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"hangar/tests/consistency/workload"
	"hangar/tests/harness/fleet"
)

// TestDriverDies ends the driver of a layout change in the midst of it: while it
// fences, held there by metadata nodes that sleep, and at moments drawn from the
// seed. Each time the next driver carries the change to its end, and everything
// is there.
func TestDriverDies(t *testing.T) {
	rounds := 1
	if long() {
		rounds = 16
	}
	s := seed(t)
	t.Logf("seed %d", s)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	c, err := Start(t, Shape{Meta: 3, Blocks: 3, Gateways: 2, Bin: bin(t)})
	if err != nil {
		t.Fatal(err)
	}
	d := &driven{fenceRun: fenceRun{t, c, ctx}, last: map[string]string{}}
	d.objects = put(ctx, d.client("gateway-1"), 300, d.object)
	if len(d.objects) < 300 {
		t.Fatalf("only %d objects were written", len(d.objects))
	}

	sleepers := []string{"meta-1", "meta-2"}
	roles := d.swap(fleet.Meta)
	for _, name := range sleepers {
		d.must(c.Signal(name, syscall.SIGSTOP))
	}
	d.must(c.Layouts().Apply(ctx, roles))
	if phase := d.phase(fleet.Meta); phase != "fencing" {
		t.Fatalf("the change is in the phase %q although most metadata nodes sleep", phase)
	}
	d.must(c.Kill("admin-1"))
	for _, name := range sleepers {
		d.must(c.Signal(name, syscall.SIGCONT))
	}
	d.recover("fencing")

	rng := rand.New(rand.NewPCG(s, 11))
	for i := range rounds {
		service := []string{fleet.Meta, fleet.Blocks}[i%2]
		roles := d.swap(service)
		d.must(c.Layouts().Apply(ctx, roles))
		time.Sleep(time.Duration(rng.Int64N(int64(400 * time.Millisecond)))) // the moment of the kill is what is drawn
		phase := d.phase(service)
		d.must(c.Kill("admin-1"))
		d.recover(fmt.Sprintf("%s, %q", service, phase))
	}
}

// driven is a cluster whose driver dies.
type driven struct {
	fenceRun
	objects []int
	added   int
	last    map[string]string // the newest node of each service, by its name
}

func (d *driven) object(i int) workload.Object {
	return workload.NewObject(fmt.Sprintf("o-%d", i), 1, i, 100+i*997)
}

// swap starts a new node of a service and returns the roles that give it the
// place of the one before it.
func (d *driven) swap(service string) []fleet.Role {
	d.t.Helper()
	old := d.last[service]
	if old == "" {
		old = service + "-3"
	}
	d.added++
	next, zone := fmt.Sprintf("%s-swapped-%d", service, d.added), d.member(old).Zone
	d.last[service] = next
	d.must(d.c.Add(next, service, zone))
	d.must(d.c.AwaitHealthy(d.ctx, next))
	leaves, err := d.member(old).NodeID()
	d.must(err)
	joins, err := d.member(next).NodeID()
	d.must(err)
	return []fleet.Role{{ID: leaves, Remove: true}, {ID: joins, Zone: zone, Capacity: fleet.Capacity}}
}

// phase is how far the change of a service is; empty when none is under way.
func (d *driven) phase(service string) string {
	d.t.Helper()
	l, err := d.c.Layouts().Get(d.ctx)
	d.must(err)
	var change struct {
		Services []struct{ Service, Phase string }
	}
	if l.Changing() {
		d.must(json.Unmarshal(l.Change, &change))
	}
	for _, s := range change.Services {
		if s.Service == service {
			return s.Phase
		}
	}
	return ""
}

// recover starts a driver again and sees the change to its end, then that
// nothing is missing through any gateway.
func (d *driven) recover(when string) {
	d.t.Helper()
	d.must(d.c.Start("admin-1"))
	d.must(d.c.AwaitHealthy(d.ctx, "admin-1"))
	d.must(d.c.Layouts().AwaitStable(d.ctx))
	for _, gateway := range []string{"gateway-1", "gateway-2"} {
		client := d.client(gateway)
		for _, i := range d.objects {
			if err := client.ReadBack(d.ctx, d.object(i)); err != nil {
				d.t.Errorf("after the driver died (%s), through %s: %v", when, gateway, err)
			}
		}
	}
	d.t.Logf("the driver died (%s): the change was finished, %d objects are there", when, len(d.objects))
}
