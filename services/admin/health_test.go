package admin_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"hangar/shared/nodeapi"
	"hangar/shared/process"
	"hangar/shared/rpc"
)

// TestFailingDiskShows: a node that is up and says that its disk takes no
// writes makes no quorum, and the cluster's health says why.
func TestFailingDiskShows(t *testing.T) {
	s := start(t)
	in := bootInput()
	var failing atomic.Pointer[string]
	var readOnly atomic.Bool
	fine := ""
	failing.Store(&fine)
	for _, role := range in.Roles {
		conn, err := rpc.Connect(s.ctx(), rpc.Options{InProcess: s.srv.InProcess(), Node: role.Node, Logger: quiet})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(conn.Close)
		status := func() (s nodeapi.Status) {
			if role.Service == "meta" {
				s.Failing, s.ReadOnly = *failing.Load(), readOnly.Load()
			}
			return s
		}
		leave, err := nodeapi.Register(conn.NATS(), process.Describe(role.Service, "test", "a", role.Node), status)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := leave(); err != nil {
				t.Error(err)
			}
		})
	}
	if _, err := s.svc.Bootstrap(s.ctx(), in); err != nil {
		t.Fatal(err)
	}
	await := func(status, ok, reason string) {
		t.Helper()
		var got map[string]any
		for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) { // nodes are listed every second
			got = s.want(200, "GET", "/v2/GetClusterHealth", nil).json
			if got["status"] == status && fmt.Sprint(got["storageNodesOk"]) == ok && strings.Contains(fmt.Sprint(got["reasons"]), reason) {
				return
			}
		}
		t.Errorf("the cluster is not %s with %s sound nodes and %q: %v", status, ok, reason, got)
	}
	await("healthy", "2", "")
	full := "the disk is full"
	failing.Store(&full)
	await("unavailable", "1", full)
	s.want(503, "GET", "/health", nil) // it may fail at reads too
	readOnly.Store(true)
	for deadline := time.Now().Add(30 * time.Second); s.call("GET", "/health", nil).status != 200; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("a cluster that serves reads is said to be down")
		}
	}
	await("unavailable", "1", full)
	failing.Store(&fine)
	await("healthy", "2", "")
}
