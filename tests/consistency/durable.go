package consistency

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"hangar/tests/consistency/workload"
	"hangar/tests/harness/fleet"
)

// Durability writes objects while nodes die, and reads each acknowledged one
// back whole while parts of the cluster are away.
type Durability struct {
	Cluster *fleet.Fleet
	Seed    uint64
	// Objects to be acknowledged, by Writers at a time.
	Objects, Writers int
	Say              func(format string, args ...any)

	made  atomic.Int64
	mu    sync.Mutex
	acked []workload.Object
}

// sizes of objects: most are small, some are of several blocks.
func size(rng *rand.Rand) int {
	switch n := rng.IntN(1000); {
	case n < 20:
		return 0
	case n < 700:
		return rng.IntN(4 << 10)
	case n < 920:
		return rng.IntN(40 << 10)
	case n < 990:
		return rng.IntN(300 << 10)
	}
	return 1<<20 + rng.IntN(4<<20)
}

// gateways that run in zones other than away.
func (d *Durability) gateways(away string) (all []*workload.Client) {
	for _, m := range d.Cluster.Members() {
		if m.Service == fleet.Gateway && m.Zone != away {
			all = append(all, workload.NewClient(m.API, d.Cluster.Client(m.Zone)))
		}
	}
	return all
}

// Write puts objects until enough are acknowledged, while one storage node
// after the other is killed and started again.
func (d *Durability) Write(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	gateways := d.gateways("")
	var writers, killer sync.WaitGroup
	var killed int
	var trouble error
	killer.Go(func() { killed, trouble = d.kill(ctx) })
	for w := range d.Writers {
		writers.Go(func() {
			rng := rand.New(rand.NewPCG(d.Seed, uint64(w)))
			for ctx.Err() == nil && d.count() < d.Objects {
				n := int(d.made.Add(1))
				o := workload.NewObject(fmt.Sprintf("durable/%d/%d", d.Seed, n), w, n, size(rng))
				if gateways[rng.IntN(len(gateways))].PutObject(ctx, o) == nil {
					d.mu.Lock()
					d.acked = append(d.acked, o)
					d.mu.Unlock()
				}
			}
		})
	}
	writers.Wait()
	err := ctx.Err()
	stop()
	killer.Wait()
	d.Say("%d of %d writes were acknowledged while nodes were killed %d times", d.count(), d.made.Load(), killed)
	return errors.Join(err, trouble)
}

func (d *Durability) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.acked)
}

// kill kills storage nodes at random until ctx ends: mostly one at a time, so
// that writes go on, now and then two of a service.
func (d *Durability) kill(ctx context.Context) (killed int, err error) {
	rng := rand.New(rand.NewPCG(d.Seed, 1<<32))
	for pause(ctx, rng, 700*time.Millisecond) {
		service := []string{fleet.Meta, fleet.Blocks}[rng.IntN(2)]
		var nodes []string
		for _, m := range d.Cluster.Members() {
			if m.Service == service {
				nodes = append(nodes, m.Name)
			}
		}
		rng.Shuffle(len(nodes), func(i, j int) { nodes[i], nodes[j] = nodes[j], nodes[i] })
		nodes = nodes[:1+rng.IntN(5)/4]
		for _, n := range nodes {
			killed++
			err = errors.Join(err, d.Cluster.Kill(n))
		}
		pause(ctx, rng, time.Second)
		for _, n := range nodes {
			err = errors.Join(err, d.Cluster.Start(n))
		}
		// Only who is back may be followed by the next.
		await, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		for _, n := range nodes {
			err = errors.Join(err, d.Cluster.AwaitHealthy(await, n))
		}
		cancel()
		if err != nil {
			return killed, err
		}
	}
	return killed, nil
}

// pause waits a random part of at most d, and reports whether ctx goes on.
func pause(ctx context.Context, rng *rand.Rand, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(time.Duration(rng.Int64N(int64(d)))):
		return true
	}
}

// readers is how many objects are read at once.
const readers = 12

// patience is how long one object may take to be read: a gateway that was just
// started, or just lost a node, tries again.
const patience = time.Minute

// Read reads every acknowledged object through each gateway outside of zone
// away, and returns what is wrong.
func (d *Durability) Read(ctx context.Context, what, away string) (wrong []string) {
	begin := time.Now()
	var mu sync.Mutex
	gateways := d.gateways(away)
	for i, g := range gateways {
		var wg sync.WaitGroup
		var next atomic.Int64
		for range readers {
			wg.Go(func() {
				for n := next.Add(1) - 1; n < int64(len(d.acked)) && few(&mu, &wrong); n = next.Add(1) - 1 {
					o := d.acked[n]
					try, cancel := context.WithTimeout(ctx, patience)
					err := g.ReadBack(try, o)
					cancel()
					if err != nil {
						mu.Lock()
						wrong = append(wrong, fmt.Sprintf("%s, gateway %d: %v", what, i, err))
						mu.Unlock()
					}
				}
			})
		}
		wg.Wait()
	}
	d.Say("%s: %d objects read through each of %d gateways, %d wrong, %v", what, len(d.acked), len(gateways), len(wrong), time.Since(begin).Round(time.Second))
	slices.Sort(wrong)
	return wrong
}

// enough is how many lost objects make further looking pointless.
const enough = 20

func few(mu *sync.Mutex, wrong *[]string) bool {
	mu.Lock()
	defer mu.Unlock()
	return len(*wrong) < enough
}

// Away ends all processes of a zone but those in keep, and returns what brings
// them back.
func (d *Durability) Away(ctx context.Context, zone string) (back func() error, err error) {
	var names []string
	for _, m := range d.Cluster.Members() {
		// The control state has copies only where each zone has a server.
		alone := (m.Service == fleet.NATS || m.Service == fleet.Admin) && d.Cluster.Network() == nil
		if m.Zone == zone && !alone {
			names = append(names, m.Name)
		}
	}
	for _, n := range names {
		err = errors.Join(err, d.Cluster.Kill(n))
	}
	return func() (err error) {
		for _, n := range names {
			err = errors.Join(err, d.Cluster.Start(n))
		}
		ctx, cancel := context.WithTimeout(ctx, 2*patience)
		defer cancel()
		for _, n := range names {
			err = errors.Join(err, d.Cluster.AwaitHealthy(ctx, n))
		}
		return err
	}, err
}
