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
	"hangar/shared/metaapi"
	"hangar/shared/nodeapi"
	"hangar/shared/object"
	"hangar/shared/record"
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

// TestStatistics: each replica tells of its tables, of what waits to be collected
// and of the comparing.
func TestStatistics(t *testing.T) {
	c := newTrio(t, time.Hour)
	for i := range 5 {
		if _, err := c.rows.Put(t.Context(), key(fmt.Sprint(i)), valueOf("text")); err != nil {
			t.Fatal(err)
		}
	}
	manifest := metaapi.RowKey{Table: metaapi.Manifests, Bucket: key("").Bucket, Key: "m"}
	if _, err := c.rows.Put(t.Context(), manifest, &metaapi.Value{Head: []byte("h")}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.rows.Put(t.Context(), key("0"), nil); err != nil {
		t.Fatal(err)
	}
	want := []nodeapi.TableStatistics{
		{Name: "objects", Rows: 4, Bytes: 4 * valueOf("text").Bytes, Vacant: 1},
		{Name: "uploads"}, {Name: "parts"}, {Name: "items"}, {Name: nodeapi.OtherRows, Rows: 1},
	}
	for i := range c.nodes {
		// A write is heard of by a majority at first.
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
			got, err := nodeapi.Remote{Caller: c.peers, Service: "meta", Node: c.nodes[i]}.Statistics(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if r := got.Rows; got.Blocks == nil && r.Rows == 6 && slices.Equal(r.Tables, want) && r.Partitions > 0 && r.DiskBytes > 0 {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("node %d: %+v", i, got.Rows)
			}
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

// TestLeftOversGo: claims and parts that nothing refers to go, and nothing else.
func TestLeftOversGo(t *testing.T) {
	c := newTrio(t, time.Hour)
	bucket, now := object.BucketID{1}, time.Now().Truncate(time.Millisecond).UTC()
	var id, gone, open object.VersionID
	gone[0], open[0], id[0] = 1, 2, 3
	long := now.Add(-100 * time.Hour)
	manifest := record.NewManifestID(id, 0)
	rows := map[string]struct {
		key   metaapi.RowKey
		head  []byte
		stays bool
	}{
		"claim that ended":      {record.ClaimKey(bucket, "k", manifest), record.Claim{Until: long}.Append(nil), false},
		"claim of a stream":     {record.ClaimKey(bucket, "k", record.NewManifestID(id, 1)), record.Claim{Until: now}.Append(nil), true},
		"part of nothing":       {record.PartKey(bucket, "k", gone, 1), record.PartHead{Modified: now}.Append(nil), false},
		"part of an upload":     {record.PartKey(bucket, "k", open, 1), record.PartHead{Modified: now}.Append(nil), true},
		"upload":                {record.UploadKey(bucket, "k", open), record.UploadHead{Started: now}.Append(nil), true},
		"upload into no bucket": {record.UploadKey(bucket, "k", gone), record.UploadHead{Started: long}.Append(nil), false},
		"object of no bucket":   {record.ObjectKey(bucket, "k"), []byte("whatever"), true},
		"block list of nothing": {record.ManifestKey(bucket, manifest, 0), record.ManifestHead{Key: "other", Version: id, Written: long}.Append(nil), false},
		"block list being made": {record.ManifestKey(bucket, manifest, 1), record.ManifestHead{Key: "other", Version: id, Written: now}.Append(nil), true},
	}
	for what, r := range rows {
		if _, err := c.rows.Put(t.Context(), r.key, &metaapi.Value{Head: r.head, Count: 1}); err != nil {
			t.Fatal(what, err)
		}
	}
	c.await(t, uint64(len(rows)))
	peers := rpctest.Connect(t, c.nats, rpc.Options{})
	for _, n := range c.nodes { // each tidies what it is the first to hold
		o := operator(t, peers, n)
		for _, kind := range []nodeapi.RepairKind{nodeapi.RepairMultipartUploads, nodeapi.RepairVersions} {
			if err := o.Repair(t.Context(), nodeapi.Repair{Kind: kind}); err != nil {
				t.Fatal(err)
			}
		}
		awaitWorker(t, o, "repair-uploads", "last completed")
		awaitWorker(t, o, "repair-versions", "last completed")
	}
	for what, r := range rows {
		row, err := c.rows.Get(t.Context(), r.key)
		if err != nil || (row.Value != nil) != r.stays {
			t.Errorf("%s: %+v, %v", what, row.Value, err)
		}
	}
}
