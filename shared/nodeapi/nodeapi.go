// Package nodeapi tells the processes of a cluster about each other: which are
// there (presence), and whether all have seen a change of the control state
// (barrier). Presence is that of NATS micro services, so that the nats tool
// shows it too.
package nodeapi

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"hangar/shared/fault"
	"hangar/shared/object"
	"hangar/shared/rpc"
)

const (
	// Quiet is the least silence that ends a listing.
	Quiet = 50 * time.Millisecond
	// Window bounds a listing; as the silence it makes sure that nobody is
	// missed who answers in that time at all.
	Window = time.Second
	// mostNodes bounds a listing's size.
	mostNodes = 10_000

	flushTimeout = 5 * time.Second

	namePrefix = "hangar-"
	// infoKey is the metadata entry that holds a Node as JSON.
	infoKey = "node"
)

// Node describes one service in one process.
type Node struct {
	ID object.NodeID `json:"id"`
	// Service is "gateway", "meta", "blocks" or "admin".
	Service  string    `json:"service"`
	Version  string    `json:"version"`
	Hostname string    `json:"hostname"`
	Started  time.Time `json:"started"`
	// Zone is the operator's hint for the layout; may be empty.
	Zone string `json:"zone,omitempty"`
	// S3Addr, K2VAddr and AdminAddr are where clients reach the node, host:port; empty
	// when it does not serve them.
	S3Addr    string `json:"s3Addr,omitempty"`
	K2VAddr   string `json:"k2vAddr,omitempty"`
	AdminAddr string `json:"adminAddr,omitempty"`
	// Status is how the node fares, asked for anew at every listing.
	Status `json:"-"`
}

// Status is what changes about a node while it runs.
type Status struct {
	// Disk is nil when the node keeps no data.
	*Disk
	// Failing says why the node is not to be relied on to store anything; empty
	// while it is.
	Failing string `json:"failing,omitempty"`
	// ReadOnly says that Failing keeps the node from nothing but writes.
	ReadOnly bool `json:"readOnly,omitempty"`
	// Directories are those of a node that may have several.
	Directories []Directory `json:"directories,omitempty"`
}

// Directory is one of the directories in which a node keeps data.
type Directory struct {
	// Number tells it apart for as long as the node lives; 0 is the node's own.
	Number int    `json:"number"`
	Path   string `json:"path"`
	// State is writing, full, failing, draining or empty: a drained one that may
	// be taken out of the configuration. Why it is full or failing.
	State string `json:"state"`
	Why   string `json:"why,omitempty"`
	// CapacityBytes are what the operator gave it; 0: all of the disk. UsedBytes
	// are what its files take, LiveBytes and LiveBlocks what is needed of that.
	CapacityBytes int64 `json:"capacityBytes"`
	UsedBytes     int64 `json:"usedBytes"`
	LiveBytes     int64 `json:"liveBytes"`
	LiveBlocks    int64 `json:"liveBlocks"`
	// FreeBytes and TotalBytes of its file system; zero when it does not say.
	FreeBytes  int64 `json:"freeBytes"`
	TotalBytes int64 `json:"totalBytes"`
}

// Disk is the room where a node keeps its data.
type Disk struct {
	FreeBytes  int64 `json:"freeBytes"`
	TotalBytes int64 `json:"totalBytes"`
}

// Register makes self visible to List until stop is called or the connection
// closes. status, unless nil, is asked at every listing, on one goroutine: it must
// not wait.
func Register(nc *nats.Conn, self Node, status func() Status) (stop func() error, err error) {
	info, err := json.Marshal(self)
	if err != nil {
		return nil, fmt.Errorf("describing this node: %w", err)
	}
	s, err := micro.AddService(nc, micro.Config{
		Name:        namePrefix + self.Service,
		Version:     semantic(self.Version),
		Description: "Hangar " + self.Service + " " + self.ID.String(),
		Metadata:    map[string]string{infoKey: string(info)},
		StatsHandler: func(*micro.Endpoint) any {
			if status == nil {
				return nil
			}
			return status()
		},
	})
	if err != nil {
		return nil, fmt.Errorf("registering this node: %w", err)
	}
	// Statistics belong to an endpoint; this one only answers that it is there.
	err = s.AddEndpoint("status", micro.HandlerFunc(func(r micro.Request) { _ = r.Respond(info) }),
		micro.WithEndpointSubject(rpc.NodeSubject(self.Service, "status", self.ID)))
	if err == nil {
		err = nc.FlushTimeout(flushTimeout)
	}
	if err != nil {
		_ = s.Stop()
		return nil, fmt.Errorf("registering this node: %w", err)
	}
	stop = func() error {
		if err := s.Stop(); err != nil {
			return err
		}
		return nc.FlushTimeout(flushTimeout)
	}
	return stop, nil
}

var semver = regexp.MustCompile(`^\d+\.\d+\.\d+$`)

// semantic is what micro accepts as a version; Node has the real one.
func semantic(version string) string {
	if v := strings.TrimPrefix(version, "v"); semver.MatchString(v) {
		return v
	}
	return "0.0.0"
}

// List returns the nodes that are there, by service and id, and how long the
// slowest took to answer. It ends after silence, which should be longer than
// the way to the farthest node and back, or after Window. A node that does not
// answer in that time is missing: the answer is a hint, not membership.
func List(ctx context.Context, nc *nats.Conn, silence time.Duration) (nodes []Node, slowest time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, Window)
	defer cancel()
	answers := make(chan *nats.Msg, 256)
	inbox := rpc.AnswerInbox(nc)
	sub, err := nc.ChanSubscribe(inbox, answers)
	if err != nil {
		return nil, 0, fault.Wrap(fault.Unavailable, err, "listing nodes")
	}
	// Fails only when the connection, and with it the subscription, has gone.
	defer func() { _ = sub.Unsubscribe() }()
	ask, err := micro.ControlSubject(micro.StatsVerb, "", "")
	if err != nil {
		return nil, 0, err
	}
	if err := nc.PublishRequest(ask, inbox, nil); err != nil {
		return nil, 0, fault.Wrap(fault.Unavailable, err, "listing nodes")
	}
	nodes, slowest = collect(ctx, answers, silence)
	return nodes, slowest, nil
}

func collect(ctx context.Context, answers <-chan *nats.Msg, silence time.Duration) (nodes []Node, slowest time.Duration) {
	began := time.Now()
	// The first answer may take the whole window; then silence means the end.
	end := time.NewTimer(Window)
	defer end.Stop()
	for waiting := true; waiting && len(nodes) < mostNodes; {
		select {
		case m := <-answers:
			if len(m.Data) == 0 {
				waiting = false // no responders
				break
			}
			if n, ok := parse(m.Data); ok {
				nodes, slowest = append(nodes, n), time.Since(began)
			}
			end.Reset(silence)
		case <-end.C:
			waiting = false
		case <-ctx.Done():
			waiting = false
		}
	}
	slices.SortFunc(nodes, func(a, b Node) int {
		if c := strings.Compare(a.Service, b.Service); c != 0 {
			return c
		}
		return strings.Compare(a.ID.String(), b.ID.String())
	})
	return nodes, slowest
}

// parse reads the statistics of a micro service; it reports false for services
// that are not ours.
func parse(b []byte) (n Node, ok bool) {
	var s micro.Stats
	if json.Unmarshal(b, &s) != nil || !strings.HasPrefix(s.Name, namePrefix) ||
		json.Unmarshal([]byte(s.Metadata[infoKey]), &n) != nil || n.ID.IsZero() {
		return Node{}, false
	}
	for _, e := range s.Endpoints {
		var s Status
		if e != nil && json.Unmarshal(e.Data, &s) == nil {
			n.Status = s
		}
	}
	return n, true
}
