package admin_test

import (
	"context"
	"fmt"
	"sync"
	"time"

	"hangar/shared/fault"
	"hangar/shared/nodeapi"
	"hangar/shared/object"
)

// operated is a storage node as operators see it, in memory. It is served over
// the real broker.
type operated struct {
	mu        sync.Mutex
	variables map[string]string // guarded by mu
	repairs   []nodeapi.Repair  // guarded by mu
	silent    chan struct{}     // closed by the test's end; a node that never answers waits for it
}

func newOperated(name string) *operated {
	return &operated{variables: map[string]string{name: "1"}}
}

func (o *operated) Workers(ctx context.Context) ([]nodeapi.Worker, error) {
	if o.silent != nil {
		select {
		case <-o.silent:
		case <-ctx.Done():
		}
		return nil, fault.New(fault.Unavailable, "silent")
	}
	five, two := int64(5), 2
	return []nodeapi.Worker{
		{ID: 7, Name: "scrub", State: nodeapi.Throttled, Rest: 1500 * time.Millisecond, Tranquility: &two, Progress: "3 %", Notes: []string{"slow"}},
		{ID: 8, Name: "resync", State: nodeapi.Idle, Errors: 3, ConsecutiveErrors: 1, LastError: "lost", LastErrorAt: time.Now().Add(-time.Hour), QueueLength: &five, PersistentErrors: &five},
		{ID: 9, Name: "collector", State: nodeapi.Busy},
	}, nil
}

func (o *operated) Variables(context.Context) (map[string]string, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	out := map[string]string{}
	for k, v := range o.variables {
		out[k] = v
	}
	return out, nil
}

func (o *operated) SetVariable(_ context.Context, name, value string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, ok := o.variables[name]; !ok {
		return fault.New(fault.NotFound, "no variable %s", name)
	}
	o.variables[name] = value
	return nil
}

func (o *operated) Repair(_ context.Context, r nodeapi.Repair) error {
	if r.Kind == nodeapi.RepairTables {
		return fault.New(fault.NotImplemented, "not of this service")
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.repairs = append(o.repairs, r)
	return nil
}

func (o *operated) Snapshot(context.Context) error { return nil }

// blockNode is a node of the block service.
type blockNode struct{ *operated }

func (blockNode) BlockErrors(context.Context) ([]nodeapi.BlockError, error) {
	return []nodeapi.BlockError{{References: 2, Errors: 4, LastTry: time.Now(), NextTry: time.Now().Add(time.Hour), Message: "no copy"}}, nil
}

func (blockNode) BlockInfo(_ context.Context, h object.Hash) (nodeapi.BlockInfo, error) {
	if h == (object.Hash{}) {
		return nodeapi.BlockInfo{}, fault.New(fault.NotFound, "no such block")
	}
	return nodeapi.BlockInfo{Hash: h, Present: true, StoredBytes: 9, Owners: []nodeapi.BlockOwner{
		{Key: "k", Version: "v"}, {Key: "k", Version: "v", Upload: "u", Dead: true},
	}}, nil
}

func (blockNode) RetryBlocks(_ context.Context, hashes []object.Hash) (int64, error) {
	if len(hashes) == 0 {
		return 1000, nil // all
	}
	return int64(len(hashes)), nil
}

func (blockNode) PurgeBlocks(_ context.Context, hashes []object.Hash) (nodeapi.Purged, error) {
	return nodeapi.Purged{Blocks: int64(len(hashes)), Objects: 1, Versions: 1, References: 2}, nil
}

// figures are what a node tells of itself.
type figures nodeapi.Statistics

func (f figures) Statistics(context.Context) (nodeapi.Statistics, error) {
	return nodeapi.Statistics(f), nil
}

var (
	metaFigures = figures{Rows: &nodeapi.RowStatistics{
		Tables: []nodeapi.TableStatistics{{Name: "objects", Rows: 7, Bytes: 8, Vacant: 9}}, Rows: 16, DiskBytes: 1, Partitions: 256,
		Comparing: nodeapi.Comparing{Rounds: 3, LastSuccess: 1},
	}}
	blocksFigures = figures{Blocks: &nodeapi.BlockStatistics{Blocks: 4, LiveBytes: 44, DeadBytes: 1, Segments: 1, Wanted: 5, Failing: 2}}
)

// operatedStorage adds a node of each storage service that operators can reach, and
// returns when the admin service has heard of them.
func (s *site) operatedStorage(metaNode, blocksNode *operated) (metaID, blocksID object.NodeID) {
	s.t.Helper()
	metaConn, _ := s.join("meta", nil)
	blocksConn, _ := s.join("blocks", nil)
	for _, err := range []error{
		serveErr(nodeapi.ServeOperator(metaConn, "meta", metaConn.Node(), metaNode)),
		serveErr(nodeapi.ServeOperator(blocksConn, "blocks", blocksConn.Node(), blocksNode)),
		serveErr(nodeapi.ServeStatistics(metaConn, "meta", metaConn.Node(), metaFigures)),
		serveErr(nodeapi.ServeStatistics(blocksConn, "blocks", blocksConn.Node(), blocksFigures)),
		serveErr(nodeapi.ServeBlockOperator(blocksConn, "blocks", blocksConn.Node(), blockNode{blocksNode})),
	} {
		if err != nil {
			s.t.Fatal(err)
		}
	}
	in := bootInput()
	in.Roles[0].Node, in.Roles[1].Node = metaConn.Node(), blocksConn.Node()
	if _, err := s.svc.Bootstrap(s.ctx(), in); err != nil {
		s.t.Fatal(err)
	}
	limit := s.ctx()
	for s.want(200, "GET", "/v2/GetClusterHealth", nil).json["status"] != "healthy" {
		if limit.Err() != nil {
			s.t.Fatal("never healthy")
		}
		time.Sleep(20 * time.Millisecond) // presence is asked for by polling
	}
	return metaConn.Node(), blocksConn.Node()
}

func serveErr(_ func(), err error) error { return err }

// multi is the answer of a node, "" for none, and its error.
func (a answer) multi(id object.NodeID) (success any, failure string) {
	if e, ok := a.json["error"].(m)[id.String()]; ok {
		failure = fmt.Sprint(e)
	}
	return a.json["success"].(m)[id.String()], failure
}
