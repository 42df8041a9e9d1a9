package meta_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"hangar/shared/fault"
	"hangar/shared/nodeapi"
	"hangar/shared/rpc"
	"hangar/shared/rpc/rpctest"
)

// awaitWorker returns once a worker shows that text, in its progress or notes.
func awaitWorker(t *testing.T, o nodeapi.Operator, name, text string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		all, err := o.Workers(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(all, func(w nodeapi.Worker) bool { return w.Name == name })
		if i < 0 {
			t.Fatalf("there is no worker %s", name)
		}
		if strings.Contains(strings.Join(append(all[i].Notes, all[i].Progress), "\n"), text) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waiting for %q: %+v", text, all[i])
		}
	}
}

// TestRepairs: an operator's repair finds a body that the disk has changed and
// mends it with what others have.
func TestRepairs(t *testing.T) {
	c := newTrio(t, time.Hour)
	for i := range 50 {
		if _, err := c.rows.Put(t.Context(), key(fmt.Sprint(i)), valueOf(fmt.Sprint("text ", i))); err != nil {
			t.Fatal(err)
		}
	}
	c.await(t, 50)
	files, err := filepath.Glob(filepath.Join(c.configs[0].Dir, "bodies", "*.seg"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%v, %v", files, err)
	}
	b, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	at := strings.Index(string(b), string(large("text 7")))
	f, err := os.OpenFile(files[0], os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{b[at+50] ^ 1}, int64(at+50)); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	o := operator(t, rpctest.Connect(t, c.nats, rpc.Options{}), c.nodes[0])
	if err := o.Repair(t.Context(), nodeapi.Repair{Kind: nodeapi.RepairScrub}); !fault.Is(err, fault.NotImplemented) {
		t.Errorf("a repair of another service: %v", err)
	}
	for _, kind := range []nodeapi.RepairKind{nodeapi.RepairTables, nodeapi.RepairCounters} {
		if err := o.Repair(t.Context(), nodeapi.Repair{Kind: kind}); err != nil {
			t.Fatal(err)
		}
	}
	awaitWorker(t, o, "repair-tables", "50 rows examined, 0 unreadable, 1 with damaged bodies of which 1 were mended")
	awaitWorker(t, o, "repair-tables", "last completed")
	awaitWorker(t, o, "repair-counters", "0 counters corrected")
	if err := o.Repair(t.Context(), nodeapi.Repair{Kind: nodeapi.RepairTables}); err != nil {
		t.Fatal(err)
	}
	// What is mended is not found again.
	awaitWorker(t, o, "repair-tables", "100 rows examined, 0 unreadable, 1 with damaged bodies of which 1 were mended")
}
