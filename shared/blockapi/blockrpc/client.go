// Package blockrpc carries the block contract over rpc: Endpoint offers a Node
// to others, and Client is the replicated Store that callers see, built from
// the Nodes that the layout names.
package blockrpc

import (
	"context"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"hangar/shared/blockapi"
	"hangar/shared/blockapi/blockcodec"
	"hangar/shared/fault"
	"hangar/shared/layout"
	"hangar/shared/object"
	"hangar/shared/rpc"
)

// Options of a Client. The zero value is good.
type Options struct {
	// Buffers to take memory from; its own by default. In a process that also
	// runs the block service both share one.
	Buffers *blockcodec.Buffers
	// WriteTimeout bounds a Put or Reference whose ctx does not; 20 s by default.
	WriteTimeout time.Duration
	// AttemptTimeout is how long one try waits for replicas before the silent
	// ones are asked again; 5 s by default.
	AttemptTimeout time.Duration
	// StragglerBytes bounds the blocks held for replicas that have not
	// acknowledged after a quorum has; 64 MiB by default. Beyond it writers
	// wait for all replicas.
	StragglerBytes int64
	// EncodeConcurrency is how many blocks are compressed or decompressed at
	// once; GOMAXPROCS by default.
	EncodeConcurrency int
	// WriteOne is asked at each write whether it may end when one replica of
	// each set has it: a loss of that replica then loses the write. Nil says no.
	WriteOne func() bool
}

func (o *Options) fill() {
	if o.Buffers == nil {
		o.Buffers = &blockcodec.Buffers{}
	}
	if o.WriteTimeout <= 0 {
		o.WriteTimeout = 20 * time.Second
	}
	if o.AttemptTimeout <= 0 {
		o.AttemptTimeout = 5 * time.Second
	}
	if o.StragglerBytes <= 0 {
		o.StragglerBytes = 64 << 20
	}
	if o.EncodeConcurrency <= 0 {
		o.EncodeConcurrency = runtime.GOMAXPROCS(0)
	}
	if o.WriteOne == nil {
		o.WriteOne = func() bool { return false }
	}
}

// Client is the replicated block store. Safe for concurrent use.
type Client struct {
	caller     rpc.Caller
	ring       func() *layout.Ring
	opts       Options
	codec      *blockcodec.Codec
	health     *health
	stragglers *semaphore.Weighted
	// sends counts writes still in the background.
	sends sync.WaitGroup
}

var _ blockapi.Store = (*Client)(nil)

// NewClient returns a Store on the nodes of ring, which is asked on every call
// and may return nil while there is no layout. Close it in the end.
func NewClient(caller rpc.Caller, ring func() *layout.Ring, opts Options) (*Client, error) {
	opts.fill()
	codec, err := blockcodec.New(opts.Buffers, opts.EncodeConcurrency)
	if err != nil {
		return nil, err
	}
	return &Client{
		caller:     caller,
		ring:       ring,
		opts:       opts,
		codec:      codec,
		health:     newHealth(),
		stragglers: semaphore.NewWeighted(opts.StragglerBytes),
	}, nil
}

// Close waits for writes that go on in the background; each is bounded by
// WriteTimeout. No other method may be called from then on.
func (c *Client) Close() { c.sends.Wait() }

// place is where a block lives by one ring.
type place struct {
	epoch     uint64
	partition layout.Partition
	sets      []layout.ReplicaSet
}

// current is the ring in force, or the error that there is none.
func (c *Client) current() (*layout.Ring, error) {
	ring := c.ring()
	if ring == nil || len(ring.Assign) == 0 {
		return nil, fault.New(fault.Unavailable, "the cluster has no layout for blocks")
	}
	return ring, nil
}

// place finds the replica sets of a block in the ring in force.
func (c *Client) place(h object.Hash) (place, error) {
	ring, err := c.current()
	if err != nil {
		return place{}, err
	}
	return placeIn(ring, h)
}

func placeIn(ring *layout.Ring, h object.Hash) (place, error) {
	p := layout.OfHash(h, ring.Bits)
	sets := ring.Sets(p)
	for _, s := range sets {
		if len(s) == 0 {
			return place{}, fault.New(fault.Unavailable, "partition %d of blocks has no nodes", p)
		}
	}
	return place{ring.Epoch, p, sets}, nil
}

// moved reports whether a newer ring than that of epoch is in force.
func (c *Client) moved(epoch uint64) bool {
	ring := c.ring()
	return ring != nil && ring.Epoch > epoch
}

// target addresses nodes of partition p: one directly, several by one
// publication on what they all listen to.
func target(op string, p layout.Partition, nodes []object.NodeID) rpc.Target {
	if len(nodes) == 1 {
		return rpc.Target{Subject: rpc.NodeSubject(service, op, nodes[0]), Nodes: nodes}
	}
	return rpc.Target{Subject: rpc.PartitionSubject(service, op, p), Nodes: nodes}
}

// Recycle implements blockapi.Store.
func (c *Client) Recycle(plain []byte) { c.opts.Buffers.Put(plain) }

// Release implements blockapi.Store.
func (c *Client) Release(ctx context.Context, r blockapi.Released) {
	m, err := releaseToWire(r)
	if err != nil {
		return // a hint may be lost
	}
	c.caller.Publish(ctx, rpc.ServiceSubject(service, opRelease), m)
}
