package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"hangar/tests/harness"
)

// Capacity of every node in tests: on one disk only the ratios matter.
const Capacity = int64(1) << 40

// Layouts changes the layout of a cluster through its Admin API, as an
// operator does.
type Layouts struct{ f *Fleet }

// Layouts returns the fleet's.
func (f *Fleet) Layouts() Layouts { return Layouts{f} }

// Node is what the cluster says of one of its processes.
type Node struct {
	ID      string `json:"id"`
	Service string `json:"service"`
	Zone    string `json:"zone"`
	IsUp    bool   `json:"isUp"`
	Role    *Role  `json:"role"`
}

// Role is a node's place in the layout.
type Role struct {
	ID       string   `json:"id"`
	Zone     string   `json:"zone,omitempty"`
	Capacity int64    `json:"capacity,omitempty"`
	Tags     []string `json:"tags"`
	Remove   bool     `json:"remove,omitempty"`
}

// Layout is the layout in force.
type Layout struct {
	Version int    `json:"version"`
	Roles   []Role `json:"roles"`
	// Change is null when no transition is under way.
	Change json.RawMessage `json:"change"`
}

// Changing reports whether data is still on its way to where the layout wants it.
func (l Layout) Changing() bool { return len(l.Change) > 0 && string(l.Change) != "null" }

// callTimeout bounds one call: an admin process may hang or be away.
const callTimeout = 10 * time.Second

func (a Layouts) call(ctx context.Context, method, op string, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	for _, m := range a.f.Members() {
		if m.Service == Admin {
			return harness.AdminCallWith(ctx, a.f.Client(m.Zone), m.API, method, "/v2/"+op, in, out)
		}
	}
	return errors.New("there is no admin process")
}

// Nodes lists the processes that the cluster knows.
func (a Layouts) Nodes(ctx context.Context) ([]Node, error) {
	var status struct{ Nodes []Node }
	err := a.call(ctx, http.MethodGet, "GetClusterStatus", nil, &status)
	return status.Nodes, err
}

// Get returns the layout in force.
func (a Layouts) Get(ctx context.Context) (l Layout, err error) {
	return l, a.call(ctx, http.MethodGet, "GetClusterLayout", nil, &l)
}

// Apply stages roles and makes them the layout. Staging again is harmless, so
// it is repeated until it is known to have happened or ctx ends: an answer may
// be lost with the admin process.
func (a Layouts) Apply(ctx context.Context, roles []Role) error {
	before, err := a.Get(ctx)
	for err != nil && wait(ctx) {
		before, err = a.Get(ctx)
	}
	if err != nil {
		return err
	}
	for i := range roles {
		if roles[i].Tags == nil {
			roles[i].Tags = []string{}
		}
	}
	for {
		err = a.call(ctx, http.MethodPost, "UpdateClusterLayout", map[string]any{"roles": roles}, nil)
		if err == nil {
			err = a.call(ctx, http.MethodPost, "ApplyClusterLayout", map[string]any{"version": before.Version + 1}, nil)
		}
		if err == nil {
			return nil
		}
		if now, lerr := a.Get(ctx); lerr == nil && now.Version > before.Version {
			return nil // an answer was lost; what it would have said is this
		}
		if !wait(ctx) {
			return fmt.Errorf("change the layout: %w", err)
		}
	}
}

// AwaitStable returns once no change is under way, or what is missing when ctx
// ends: ErrChanging if that is all.
func (a Layouts) AwaitStable(ctx context.Context) error {
	var last Layout
	for {
		l, err := a.Get(ctx)
		if err == nil && !l.Changing() {
			return nil
		}
		if err == nil {
			last = l
		}
		if !wait(ctx) {
			return errors.Join(fmt.Errorf("%w: %s", ErrChanging, last.Change), err)
		}
	}
}

// ErrChanging says that a change of the layout has not ended in time.
var ErrChanging = errors.New("the layout still changes")

// wait pauses between two looks at another process, and reports whether ctx
// goes on.
func wait(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(200 * time.Millisecond):
		return true
	}
}

// Found gives a new cluster its first layout over the nodes that hold data,
// once as many as said have reported, and makes the test key and bucket.
func (a Layouts) Found(ctx context.Context, storageNodes int) error {
	var roles []Role
	for {
		nodes, err := a.Nodes(ctx)
		roles = roles[:0]
		for _, n := range nodes {
			if n.IsUp && (n.Service == Meta || n.Service == Blocks) {
				roles = append(roles, Role{ID: n.ID, Zone: n.Zone, Capacity: Capacity})
			}
		}
		if err == nil && len(roles) >= storageNodes {
			break
		}
		if !wait(ctx) {
			return errors.Join(fmt.Errorf("%d of %d storage nodes have reported", len(roles), storageNodes), err)
		}
	}
	if err := a.Apply(ctx, roles); err != nil {
		return err
	}
	if err := a.call(ctx, http.MethodPost, "ImportKey", map[string]any{"accessKeyId": harness.AccessKey, "secretAccessKey": harness.SecretKey, "name": "test"}, nil); err != nil {
		return err
	}
	var bucket struct{ ID string }
	if err := a.call(ctx, http.MethodPost, "CreateBucket", map[string]any{"globalAlias": harness.Bucket}, &bucket); err != nil {
		return err
	}
	return a.call(ctx, http.MethodPost, "AllowBucketKey", map[string]any{
		"bucketId": bucket.ID, "accessKeyId": harness.AccessKey, "permissions": map[string]bool{"read": true, "write": true, "owner": true},
	}, nil)
}
