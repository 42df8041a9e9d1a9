package admin_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"hangar/services/admin"
	"hangar/shared/control"
	"hangar/shared/fault"
	"hangar/shared/layout"
	"hangar/shared/nodeapi"
	"hangar/shared/object"
)

// store is a storage node as the driver of layout changes knows it. It takes
// every partition over once gate is open.
type store struct {
	service string
	mirror  *control.Mirror
	id      object.NodeID
	leave   func()

	mu      sync.Mutex
	epoch   uint64
	open    bool
	orders  int
	refused bool // answers nothing
}

func (s *store) Adopt(ctx context.Context, epoch uint64) (nodeapi.Adopted, error) {
	for {
		updated := s.mirror.Updated()
		if l := s.mirror.View().Layout; l != nil && l.Ring(s.service).Epoch >= epoch {
			break
		}
		select {
		case <-updated:
		case <-ctx.Done():
			return nodeapi.Adopted{}, ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refused {
		return nodeapi.Adopted{}, fault.New(fault.Unavailable, "the disk is gone")
	}
	s.epoch = max(s.epoch, epoch)
	a := nodeapi.Adopted{Epoch: s.epoch, Marks: map[layout.Partition]json.RawMessage{}}
	for p := range 256 {
		a.Marks[layout.Partition(p)] = json.RawMessage(`{"Time":7}`)
	}
	return a, nil
}

func (s *store) Transfer(_ context.Context, t nodeapi.Transfer) (nodeapi.Progress, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refused || t.Epoch != s.epoch {
		return nodeapi.Progress{}, fault.New(fault.Unavailable, "epoch %d is not in force here", t.Epoch)
	}
	s.orders++
	p := nodeapi.Progress{Epoch: t.Epoch, Items: int64(s.orders), ItemsTotal: 1000}
	if s.open {
		p.Done = t.Partitions
	}
	return p, nil
}

func (s *store) set(change func(*store)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

// storage adds a storage node to the cluster.
func (s *site) storage(service string) *store {
	s.t.Helper()
	conn, mirror := s.join(service, nil)
	n := &store{service: service, mirror: mirror, id: conn.Node()}
	stop, err := nodeapi.ServeTransfers(conn, service, n.id, n)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(stop)
	n.leave = stop
	return n
}

// fleetOf starts a cluster of three nodes per service, with one more of each
// that has no role.
func fleetOf(s *site) (meta, blocks []*store) {
	s.t.Helper()
	in := admin.BootstrapInput{Region: "hangar", ReplicationFactor: 3}
	for i := range 4 {
		meta, blocks = append(meta, s.storage("meta")), append(blocks, s.storage("blocks"))
		for _, n := range []*store{meta[i], blocks[i]} {
			if i < 3 {
				in.Roles = append(in.Roles, control.Role{Node: n.id, Service: n.service, Zone: "z", CapacityBytes: 1 << 30})
			}
		}
	}
	if _, err := s.svc.Bootstrap(s.ctx(), in); err != nil {
		s.t.Fatal(err)
	}
	return meta, blocks
}

// change stages roles and applies them.
func (s *site) change(version int, roles ...m) {
	s.t.Helper()
	s.want(200, "POST", "/v2/UpdateClusterLayout", m{"roles": roles})
	s.want(200, "POST", "/v2/ApplyClusterLayout", m{"version": version})
}

func add(n *store) m {
	return m{"id": n.id.String(), "service": n.service, "zone": "z", "capacity": 1 << 30}
}

func remove(n *store) m { return m{"id": n.id.String(), "remove": true} }

// until polls the layout until ok.
func (s *site) until(what string, ok func(l m) bool) m {
	s.t.Helper()
	limit := s.ctx()
	for {
		l := s.want(200, "GET", "/v2/GetClusterLayout", nil).json
		if ok(l) {
			return l
		}
		if limit.Err() != nil {
			s.t.Fatalf("never %s: %v", what, l["change"])
		}
		time.Sleep(20 * time.Millisecond) // progress is asked for by polling
	}
}

func atRest(l m) bool { return l["change"] == nil }

// changing reports a service's part of the change.
func changing(l m, service string) m {
	c, ok := l["change"].(m)
	if !ok {
		return nil
	}
	for _, s := range c["services"].([]any) {
		if s.(m)["service"] == service {
			return s.(m)
		}
	}
	return nil
}

func TestChangeIsCarriedOut(t *testing.T) {
	s := start(t)
	meta, blocks := fleetOf(s)
	for _, n := range append(meta, blocks...) {
		n.set(func(n *store) { n.open = true })
	}
	preview := func() m {
		s.want(200, "POST", "/v2/UpdateClusterLayout", m{"roles": []m{add(meta[3]), add(blocks[3])}})
		return s.want(200, "POST", "/v2/PreviewClusterLayoutChanges", nil).json
	}()
	if moves := preview["moves"].([]any); len(moves) < 6 || !strings.Contains(fmt.Sprint(preview["message"]), "change hands") {
		t.Errorf("%v", preview)
	}
	s.want(200, "POST", "/v2/ApplyClusterLayout", m{"version": 2})
	s.until("at rest", atRest)
	s.change(3, remove(meta[0]), remove(blocks[0]))
	s.until("at rest", atRest)
	l, _, err := s.store.Layout(s.ctx())
	if err != nil || l.Meta.Epoch != 5 || l.Blocks.Epoch != 5 || l.MetaLows[0].Time != 7 || l.MetaLowsEpoch != 4 {
		t.Errorf("%+v %v", l, err)
	}
	h := s.want(200, "GET", "/v2/GetClusterLayoutHistory", nil).json
	if v := h["versions"].([]any); h["currentVersion"] != 3.0 || len(v) < 2 || v[len(v)-1].(m)["status"] != "Current" {
		t.Errorf("%v", h)
	}
	// Who left may be switched off once the others know.
	s.until("settled", func(m) bool {
		for _, n := range s.want(200, "GET", "/v2/GetClusterStatus", nil).json["nodes"].([]any) {
			if node := n.(m); node["id"] == blocks[0].id.String() {
				return node["draining"] == false && node["duty"] == "none"
			}
		}
		return false
	})
	if a := s.want(200, "GET", "/metrics", nil); !strings.Contains(string(a.body), "hangar_admin_layout_completed_total 2") {
		t.Errorf("%s", a.body)
	}
}

func TestAChangeWaitsAndSaysForWhom(t *testing.T) {
	s := start(t)
	meta, blocks := fleetOf(s)
	for _, n := range meta {
		n.set(func(n *store) { n.open = true })
	}
	blocks[3].set(func(n *store) { n.refused = true })
	s.change(2, add(meta[3]), add(blocks[3]), remove(blocks[0]))
	l := s.until("waiting", func(l m) bool {
		b := changing(l, "blocks")
		return changing(l, "meta") == nil && b != nil && strings.Contains(fmt.Sprint(b["waitingFor"]), "the disk is gone")
	})
	if b := changing(l, "blocks"); b["partitionsTotal"].(float64) < 1 || b["partitionsDone"] != 0.0 {
		t.Errorf("%v", b)
	}
	s.want(409, "POST", "/v2/ApplyClusterLayout", m{"version": 3})
	s.want(409, "POST", "/v2/AbortClusterLayoutChange", m{"version": 1})
	s.want(400, "POST", "/v2/AbortClusterLayoutChange", nil)
	aborted := s.want(200, "POST", "/v2/AbortClusterLayoutChange", m{"version": 2}).json
	if aborted["version"] != 3.0 || aborted["change"] != nil {
		t.Errorf("%v", aborted)
	}
	for _, r := range aborted["roles"].([]any) { // rows are where they were to go, blocks where they were
		if r.(m)["id"] == blocks[3].id.String() {
			t.Errorf("the role of the node that had not come is left: %v", r)
		}
	}
	if got := len(aborted["roles"].([]any)); got != 7 {
		t.Errorf("%d roles", got)
	}
	s.want(409, "POST", "/v2/AbortClusterLayoutChange", m{"version": 3})
	h := fmt.Sprint(s.want(200, "GET", "/v2/GetClusterLayoutHistory", nil).json)
	if !strings.Contains(h, "aborted") {
		t.Error(h)
	}
}

// TestAnotherProcessGoesOn ends the admin process that drives, and another one
// brings the change to its end.
func TestAnotherProcessGoesOn(t *testing.T) {
	s := start(t)
	meta, blocks := fleetOf(s)
	other := s.another()
	s.change(2, add(meta[3]), add(blocks[3]))
	s.until("copying", func(l m) bool {
		return fmt.Sprint(changing(l, "blocks")["phase"], changing(l, "meta")["phase"]) == "copyingcopying"
	})
	s.stop() // the one, whichever of the two drives
	s.url = other
	for _, n := range append(meta, blocks...) {
		n.set(func(n *store) { n.open = true })
	}
	s.until("at rest", atRest)
}

// TestSkippingTheDead lets a change end without a node that never came.
func TestSkippingTheDead(t *testing.T) {
	s := start(t)
	meta, blocks := fleetOf(s)
	for _, n := range append(meta, blocks...) {
		n.set(func(n *store) { n.open = true })
	}
	s.want(409, "POST", "/v2/ClusterLayoutSkipDeadNodes", m{"version": 1})
	nobody := m{"id": object.NewNodeID().String(), "service": "blocks", "zone": "z", "capacity": 1 << 30}
	s.change(2, nobody, remove(blocks[0]))
	s.until("waiting", func(l m) bool { return changing(l, "blocks") != nil })
	a := s.want(200, "POST", "/v2/ClusterLayoutSkipDeadNodes", m{"version": 2}).json
	if fmt.Sprint(a["ackUpdated"], a["syncUpdated"]) != fmt.Sprintf("[%s] [%s]", nobody["id"], nobody["id"]) {
		t.Errorf("%v", a)
	}
	s.until("at rest", atRest)
	// Another dead one makes two of three: only the way back is safe.
	nobody2 := m{"id": object.NewNodeID().String(), "service": "blocks", "zone": "z", "capacity": 1 << 30}
	s.change(3, nobody2, remove(blocks[1]))
	if a := s.want(409, "POST", "/v2/ClusterLayoutSkipDeadNodes", m{"version": 3}); !strings.Contains(string(a.body), "abort") {
		t.Errorf("%s", a.body)
	}
	s.want(200, "POST", "/v2/AbortClusterLayoutChange", m{"version": 3})
	s.until("at rest", atRest)
}

func TestConsistencyIsSetAtOnce(t *testing.T) {
	s := start(t)
	s.boot()
	l := s.want(200, "POST", "/v2/UpdateClusterLayout", m{"parameters": m{"consistency": "degraded"}}).json
	if l["parameters"].(m)["consistency"] != "degraded" || l["stagedParameters"] != nil {
		t.Errorf("%v", l)
	}
	s.want(400, "POST", "/v2/UpdateClusterLayout", m{"parameters": m{"consistency": "sloppy"}})
}
