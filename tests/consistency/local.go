package consistency

import (
	"context"
	"fmt"
	"testing"
	"time"

	"hangar/tests/harness"
)

// Local is a cluster on the loopback interface. Its network, clocks and disks
// are this machine's and cannot fail by themselves.
type Local struct {
	*harness.Fleet
	layouts *harness.Layouts
}

// Layouts implements nemesis.Cluster.
func (l *Local) Layouts() *harness.Layouts { return l.layouts }

// Shape is how many processes a cluster has.
type Shape struct {
	Meta, Blocks, Gateways int
	// Relayout says that the layout may be changed while it holds data.
	Relayout bool
	// Bin is the folder of the binaries.
	Bin string
	// Env is added to the environment of every process of a service.
	Env map[string][]string
}

// StartLocal starts a cluster over three zones, with key and bucket.
func StartLocal(t testing.TB, dir string, s Shape) (*Local, error) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	l := &Local{Fleet: harness.NewFleet(t, s.Bin, dir)}
	for service, env := range s.Env {
		l.Env[service] = env
	}
	admin := &harness.Layouts{Endpoint: func() string { return l.Admin }}
	if err := l.Add("nats-1", harness.NATS, ""); err != nil {
		return nil, err
	}
	if err := l.AwaitHealthy(ctx, "nats-1"); err != nil {
		return nil, err
	}
	add := func(service string, n int) error {
		for i := range n {
			if err := l.Add(fmt.Sprintf("%s-%d", service, i+1), service, fmt.Sprintf("zone-%d", i%3+1)); err != nil {
				return err
			}
		}
		return nil
	}
	for _, x := range []struct {
		service string
		n       int
	}{{harness.Admin, 1}, {harness.Meta, s.Meta}, {harness.Blocks, s.Blocks}, {harness.Gateway, s.Gateways}} {
		if err := add(x.service, x.n); err != nil {
			return nil, err
		}
	}
	if err := admin.Found(ctx, s.Meta+s.Blocks); err != nil {
		return nil, err
	}
	for _, m := range l.Members() {
		if err := l.AwaitHealthy(ctx, m.Name); err != nil {
			return nil, err
		}
	}
	if s.Relayout {
		l.layouts = admin
	}
	return l, nil
}
