package meta_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"hangar/shared/layout"
	"hangar/shared/metaapi"
)

// repairing restarts a fleet's nodes with the shortest intervals of repair and
// collection, and adds up what they did.
type repairing struct {
	*fleet
	repaired, forgotten float64
}

// away stops a node, calls f, and starts the node again.
func (r *repairing) away(i int, f func()) {
	r.t.Helper()
	r.repaired += metric(r.t, r.runs[i], "hangar_meta_repair_rows_total")
	r.forgotten += metric(r.t, r.runs[i], "hangar_meta_forgotten_rows_total")
	if err := r.runs[i].stop(); err != nil {
		r.t.Fatal(err)
	}
	if f != nil {
		f()
	}
	c := settings(r.t, r.dirs[i])
	c.Repair, c.Grace, c.Sync = time.Second, time.Second, false
	r.runs[i] = run(r.t, r.nats, r.views[i], c)
}

func (r *repairing) done() (repaired, forgotten float64) {
	repaired, forgotten = r.repaired, r.forgotten
	for _, node := range r.runs {
		repaired += metric(r.t, node, "hangar_meta_repair_rows_total")
		forgotten += metric(r.t, node, "hangar_meta_forgotten_rows_total")
	}
	return repaired, forgotten
}

// alike is nil once all nodes hold the same rows.
func (r *repairing) alike(ctx context.Context) error {
	q := metaapi.DigestsRequest{Epoch: 1}
	for p := range layout.Partition(16) {
		q.Partitions = append(q.Partitions, p)
	}
	var first metaapi.DigestsReply
	for i, n := range r.nodes {
		reply, err := metaapi.NewPeer(r.conn, n).Digests(ctx, q)
		if err != nil {
			return err
		}
		if i == 0 {
			first = reply
		}
		for p := range reply.Partitions {
			if reply.Partitions[p] != first.Partitions[p] {
				return fmt.Errorf("node %d differs in partition %d", i, p)
			}
		}
	}
	return nil
}

// TestRepairUnderLoad: rows stay linearizable registers while nodes come and
// go, repair brings them together and collection forgets what was deleted: rows
// that are written all the time, and rows that nobody writes while they are
// repaired and collected.
func TestRepairUnderLoad(t *testing.T) {
	const cold = 30
	r := &repairing{fleet: newFleet(t, 3, 3)}
	for i := range r.nodes {
		r.away(i, nil)
	}
	c := r.client()
	hot := r.startLoad(8, 4)
	calm := &load{began: hot.began, stop: func() {}}
	for i := range cold {
		calm.rows = append(calm.rows, &history{key: key(fmt.Sprint("calm ", i))})
	}
	work := func(turn int) {
		for i, h := range calm.rows {
			calm.work(t, c, h, 50, fmt.Sprintf("c%d-%d", turn, i))
		}
	}
	for turn := range 6 {
		r.away(turn%3, func() { work(3 * turn); work(3*turn + 1) })
		_, before := r.done()
		if _, err := c.Put(r.ctx, key(fmt.Sprint("gone ", turn)), nil); err != nil {
			t.Fatal(err)
		}
		r.eventually("collecting", func(context.Context) error { // amid the load
			if _, forgotten := r.done(); forgotten == before {
				return errors.New("nothing is forgotten")
			}
			return nil
		})
		work(3*turn + 2)
	}
	hot.end(t, c)
	calm.end(t, c)
	r.eventually("repair", r.alike)
	repaired, forgotten := r.done()
	t.Logf("%v rows were repaired, %v forgotten", repaired, forgotten)
	if repaired == 0 || forgotten == 0 {
		t.Error("nothing was repaired, or nothing forgotten")
	}
}
