package control

import (
	"context"
	"time"

	"hangar/shared/fault"
	"hangar/shared/object"
)

// Lease says which admin process drives a layout change. It spares the others
// the same work and decides nothing: whatever a driver writes is a
// compare-and-set that is right whoever makes it.
type Lease struct {
	// Holder is unique to one start of one process; empty when nobody holds it.
	Holder string `json:"holder,omitempty"`
	// Node is where the holder answers.
	Node object.NodeID `json:"node,omitzero"`
	// Beat counts renewals, so that each changes the record.
	Beat uint64 `json:"beat"`
}

// Timing of the lease: a holder renews it every LeaseRenewal, and others take
// it once they have seen it unchanged for LeaseExpiry.
const (
	LeaseRenewal = 2 * time.Second
	LeaseExpiry  = 7 * time.Second
)

// Candidate is a process that wants the lease. It is pure and belongs to one
// goroutine. Time is the process's own monotonic one: clocks of two machines
// are never compared.
type Candidate struct {
	Holder string
	Node   object.NodeID

	rev   Revision
	since time.Time // when rev was first seen
}

// Consider looks at the lease as read at now, and returns what to write in its
// place: a lease to take or to renew, or nil to wait.
func (c *Candidate) Consider(now time.Time, l *Lease, rev Revision) *Lease {
	if l == nil {
		l = &Lease{}
	}
	if rev != c.rev || c.since.IsZero() {
		c.rev, c.since = rev, now
	}
	switch {
	case l.Holder == c.Holder, l.Holder == "", now.Sub(c.since) >= LeaseExpiry:
		return &Lease{Holder: c.Holder, Node: c.Node, Beat: l.Beat + 1}
	}
	return nil
}

// TryLease takes or renews the lease for c as Consider decides. It reports
// whether c holds it now.
func (s *Store) TryLease(ctx context.Context, c *Candidate) (held bool, err error) {
	l, rev, err := load[Lease](ctx, s, keyLease)
	if err != nil {
		return false, err
	}
	next := c.Consider(time.Now(), l, rev)
	if next == nil {
		return false, nil
	}
	_, err = s.put(ctx, keyLease, next, rev)
	if fault.Is(err, fault.Conflict) {
		return false, nil // another process was faster
	}
	return err == nil, err
}

// ReleaseLease gives the lease up if c holds it.
func (s *Store) ReleaseLease(ctx context.Context, c *Candidate) error {
	_, _, err := upsert(ctx, s, keyLease, func(l *Lease) error {
		if l.Holder != c.Holder {
			return errUnchanged
		}
		*l = Lease{Beat: l.Beat + 1}
		return nil
	})
	return err
}
