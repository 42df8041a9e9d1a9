package blocks_test

import (
	"cmp"
	"slices"
	"testing"
	"time"

	"hangar/services/blocks"
	"hangar/shared/blockapi/blocktest"
	"hangar/shared/fault"
	"hangar/shared/nodeapi"
	"hangar/shared/object"
	"hangar/shared/rpc"
	"hangar/shared/rpc/rpctest"
)

// BenchmarkBesideScrub measures how long a client waits for its writes and reads
// while the node scrubs, again and again, by the tranquility of the scrub.
//
//	go test -run '^$' -bench BesideScrub -benchtime 6s .
func BenchmarkBesideScrub(b *testing.B) {
	nats, ctl, dir := rpctest.NATS(b), newControl(), b.TempDir()
	id, err := blocks.Identify(dir)
	if err != nil {
		b.Fatal(err)
	}
	ctl.set(ringOf(1, id))
	start(b, nats, nil, ctl, dir)
	c := client(b, nats, nil, ctl)
	node := nodeapi.Remote{Caller: rpctest.Connect(b, nats, rpc.Options{}), Service: "blocks", Node: id}
	var stored []object.Hash
	put := func(size int) {
		h, err := c.Put(b.Context(), blocktest.Owner(), blocktest.Random(size))
		if err != nil {
			b.Fatal(err)
		}
		stored = append(stored, h)
	}
	for range 300 {
		put(1 << 20)
	}
	for _, tranquility := range []string{"none", "0", "2", "adaptive"} {
		b.Run(tranquility, func(b *testing.B) {
			stop := func() float64 { return 0 }
			if tranquility != "none" {
				stop = scrubbing(b, node, tranquility)
			}
			var puts, gets []time.Duration
			for i := 0; b.Loop(); i++ {
				began := time.Now()
				put(64 << 10)
				puts = append(puts, time.Since(began))
				began = time.Now()
				got, err := c.Get(b.Context(), stored[i*7919%len(stored)])
				if err != nil {
					b.Fatal(err)
				}
				gets = append(gets, time.Since(began))
				c.Recycle(got)
			}
			share := stop()
			b.ReportMetric(100*share, "%busy")
			for name, took := range map[string][]time.Duration{"put": puts, "get": gets} {
				slices.SortFunc(took, cmp.Compare[time.Duration])
				b.ReportMetric(took[len(took)/2].Seconds()*1000, name+"-p50-ms")
				b.ReportMetric(took[len(took)*99/100].Seconds()*1000, name+"-p99-ms")
			}
		})
	}
}

// scrubbing scrubs a node until stop is called, which returns for what share of
// the time the scrub was at work rather than at rest.
func scrubbing(b *testing.B, node nodeapi.Remote, tranquility string) (stop func() float64) {
	if err := node.SetVariable(b.Context(), "scrub-tranquility", tranquility); err != nil {
		b.Fatal(err)
	}
	end, done := make(chan struct{}), make(chan float64)
	go func() {
		busy, looks := 0, 0
		for {
			err := node.Repair(b.Context(), nodeapi.Repair{Kind: nodeapi.RepairScrub, Scrub: "start"})
			if err != nil && !fault.Is(err, fault.Conflict) {
				b.Error(err)
			}
			list, err := node.Workers(b.Context())
			if err != nil {
				b.Error(err)
			}
			for _, w := range list {
				if w.Name == "scrub" {
					if looks++; w.State == nodeapi.Busy {
						busy++
					}
				}
			}
			select {
			case <-end:
				done <- float64(busy) / float64(looks)
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	return func() float64 { close(end); return <-done }
}
