package consistency

import (
	"context"
	"fmt"
	"testing"
	"time"

	"hangar/tests/harness/fleet"
	"hangar/tests/harness/netns"
)

// Shape is how many processes a cluster has, and what they run on.
type Shape struct {
	Meta, Blocks, Gateways int
	// Hosts puts each process on a host of its own and a NATS server in each
	// zone; without, all share the loopback interface and one server.
	Hosts bool
	// Small gives one metadata and one block node a small disk of its own.
	Small bool
	// Bin is the folder of the binaries.
	Bin string
	// Env is added to the environment of every process of a service.
	Env map[string][]string
}

const zones = 3

// A small disk of blocks in MiB, and how much of it may be written to: the rest
// is its reserve, and what the index takes.
const (
	smallDisk = 1024
	smallRoom = 700
)

func zoneName(i int) string { return fmt.Sprintf("zone-%d", i%zones+1) }

// Start starts a cluster over three zones, with key and bucket. The test is
// skipped where there can be no hosts that it asks for.
func Start(t testing.TB, s Shape) (*fleet.Fleet, error) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	o := fleet.Options{Bin: s.Bin, Dir: t.TempDir(), Env: map[string][]string{}}
	for service, env := range s.Env {
		o.Env[service] = env
	}
	brokers := []string{zoneName(0)}
	if s.Hosts {
		o.Net = netns.New(t)
		brokers = []string{zoneName(0), zoneName(1), zoneName(2)}
	}
	if s.Small {
		o.Small = map[string]int{"meta-3": 384, "blocks-3": smallDisk}
		o.Env["meta-3"] = []string{"HANGAR_META_RESERVE_MIB=64"}
		o.Env["blocks-3"] = []string{"HANGAR_BLOCKS_RESERVE_MIB=64", "HANGAR_BLOCKS_SEGMENT_MIB=16"}
	}
	f := fleet.New(t, o)
	if err := f.Brokers(brokers...); err != nil {
		return nil, err
	}
	for _, x := range []struct {
		service string
		n       int
	}{{fleet.Admin, 1}, {fleet.Meta, s.Meta}, {fleet.Blocks, s.Blocks}, {fleet.Gateway, s.Gateways}} {
		for i := range x.n {
			if err := f.Add(fmt.Sprintf("%s-%d", x.service, i+1), x.service, zoneName(i)); err != nil {
				return nil, err
			}
		}
	}
	if err := f.Layouts().Found(ctx, s.Meta+s.Blocks); err != nil {
		return nil, err
	}
	for _, m := range f.Members() {
		if err := f.AwaitHealthy(ctx, m.Name); err != nil {
			return nil, err
		}
	}
	return f, nil
}
