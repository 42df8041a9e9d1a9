// Package admission keeps out requests that were let in by rights which have
// been withdrawn since. A gateway decides by its mirror of the control state who
// may do what, and its mirror may be behind. The metadata nodes mirror that state
// too: a node refuses what was admitted by a state older than the last change of
// access that it knows of. So once a majority of a row's replicas knows of a
// change, no quorum takes part any more in what the older state allowed, however
// far behind a gateway is. It is to access what the epoch is to the layout, and
// rests on no clock.
//
// A node that is behind itself serves what it is asked: that the others know
// better is enough. While the control state cannot be reached nothing in it
// changes, and nothing is refused that was not before.
package admission

import (
	"context"

	"hangar/shared/control"
	"hangar/shared/metaapi"
	"hangar/shared/register"
	"hangar/shared/turnstile"
)

// Gate stands before a replica: metaapi.Replica says what it refuses. Inventory
// and Counters pass: nobody is let in by them. All methods are safe for
// concurrent use.
type Gate struct {
	metaapi.Replica
	view   func() *control.View
	inside *turnstile.Turnstile
}

var _ metaapi.Replica = (*Gate)(nil)

// New returns the gate of a replica on a node whose mirror shows view.
func New(r metaapi.Replica, view func() *control.View) *Gate {
	return &Gate{Replica: r, view: view, inside: turnstile.New()}
}

// outrun returns the last change of access, if a request was admitted by an
// older state, else 0.
func (g *Gate) outrun(admitted control.Revision) control.Revision {
	if admitted == 0 || !guarded {
		return 0
	}
	if last := g.view().Access; admitted < last {
		return last
	}
	return 0
}

// Handle implements metaapi.Replica.
func (g *Gate) Handle(ctx context.Context, key metaapi.RowKey, q register.Request) (register.Reply, error) {
	defer g.inside.Enter().Leave() // before the look at the view
	if last := g.outrun(q.Admitted); last > 0 {
		return register.Reply{Code: register.Behind, Revision: last}, nil
	}
	return g.Replica.Handle(ctx, key, q)
}

// HandleMany implements metaapi.Replica.
func (g *Gate) HandleMany(ctx context.Context, rows []metaapi.RowRequest) []metaapi.RowReply {
	defer g.inside.Enter().Leave()
	replies := make([]metaapi.RowReply, len(rows))
	var let []metaapi.RowRequest
	var at []int
	for i := range rows {
		if last := g.outrun(rows[i].Admitted); last > 0 {
			replies[i].Reply = register.Reply{Code: register.Behind, Revision: last}
			continue
		}
		let, at = append(let, rows[i]), append(at, i)
	}
	if len(let) > 0 {
		for n, reply := range g.Replica.HandleMany(ctx, let) {
			replies[at[n]] = reply
		}
	}
	return replies
}

// Index implements metaapi.Replica.
func (g *Gate) Index(ctx context.Context, q metaapi.IndexRequest) (metaapi.IndexReply, error) {
	defer g.inside.Enter().Leave()
	if last := g.outrun(q.Admitted); last > 0 {
		return metaapi.IndexReply{Behind: last}, nil
	}
	return g.Replica.Index(ctx, q)
}

// Scan implements metaapi.Replica.
func (g *Gate) Scan(ctx context.Context, q metaapi.ScanRequest) (metaapi.ScanReply, error) {
	defer g.inside.Enter().Leave()
	if last := g.outrun(q.Admitted); last > 0 {
		return metaapi.ScanReply{Behind: last}, nil
	}
	return g.Replica.Scan(ctx, q)
}

// Quiesce returns once every request has ended that was let in before. After it
// nothing happens any more by a state older than the view's.
func (g *Gate) Quiesce(ctx context.Context) error { return g.inside.Quiesce(ctx) }
