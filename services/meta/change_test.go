package meta_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"hangar/shared/fault"
	"hangar/shared/metaapi"
	"hangar/shared/object"
	"hangar/shared/process"
	"hangar/shared/register"
	"hangar/shared/rpc"
	"hangar/shared/rpc/rpctest"
)

func (f *fleet) client() *metaapi.Client {
	clock := register.NewClock(register.NewNode(), time.Now)
	conn := rpctest.Connect(f.t, f.nats, rpc.Options{})
	return metaapi.NewClient(conn, process.Rings{Mirror: f.views[len(f.nodes)]}, clock, metaapi.Options{})
}

// call is one operation on a row: it appends to what is there, writes or reads.
type call struct {
	kind byte // 'a', 'w' (an empty value deletes) or 'r'
	text string
}

// outcome is what became of it.
type outcome struct {
	read    string
	unknown bool
}

// rowModel is a row of text that may be appended to.
var rowModel = porcupine.Model{
	Init: func() any { return "" },
	Step: func(state, input, output any) (bool, any) {
		cur, in, out := state.(string), input.(call), output.(outcome)
		switch in.kind {
		case 'r':
			return out.read == cur, cur
		case 'a':
			return true, cur + in.text
		default:
			return true, in.text
		}
	},
	DescribeOperation: func(in, out any) string { return fmt.Sprintf("%c %s: %+v", in.(call).kind, in.(call).text, out) },
}

// history is what clients did to one row.
type history struct {
	key metaapi.RowKey
	mu  sync.Mutex
	ops []porcupine.Operation // guarded by mu
}

// load is a load of writers and readers over some rows.
type load struct {
	began time.Time
	rows  []*history
	done  sync.WaitGroup
	stop  context.CancelFunc
}

// large is a body that does not fit into the row's record.
func large(text string) []byte { return []byte(strings.Repeat(text+".", 1+800/(len(text)+1))) }

func textOf(v *metaapi.Value) (string, error) {
	if v == nil {
		return "", nil
	}
	if string(v.Body) != string(large(string(v.Head))) {
		return "", fmt.Errorf("the row of %.20q has the body of another", v.Head)
	}
	return string(v.Head), nil
}

func valueOf(text string) *metaapi.Value {
	if text == "" {
		return nil
	}
	return &metaapi.Value{Head: []byte(text), Body: large(text), Count: 1, Bytes: int64(len(text))}
}

// startLoad has clients work on rows until the load ends.
func (f *fleet) startLoad(rows, clients int) *load {
	ctx, cancel := context.WithCancel(f.ctx)
	l := &load{began: time.Now(), stop: cancel}
	for i := range rows {
		l.rows = append(l.rows, &history{key: key(fmt.Sprint("busy ", i))})
	}
	for id := range clients {
		c := f.client()
		l.done.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				h := l.rows[rand.N(len(l.rows))]
				l.work(f.t, c, h, id, fmt.Sprintf("%d-%d", id, n))
				time.Sleep(rand.N(10 * time.Millisecond)) // not all of the machine
			}
		})
	}
	return l
}

// work does one operation and writes it down.
func (l *load) work(t *testing.T, c *metaapi.Client, h *history, id int, text string) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	in, out := call{kind: "aawrr"[rand.N(5)], text: text}, outcome{}
	if in.kind == 'w' && rand.N(2) == 0 {
		in.text = ""
	}
	began := time.Since(l.began)
	var err error
	switch in.kind {
	case 'r':
		in.text = ""
		var row metaapi.Row
		if row, err = c.Get(ctx, h.key); err == nil {
			if out.read, err = textOf(row.Value); err != nil {
				t.Error(err)
			}
		}
	case 'w':
		_, err = c.Put(ctx, h.key, valueOf(in.text))
	case 'a':
		_, err = c.Update(ctx, h.key, func(row metaapi.Row) (*metaapi.Value, error) {
			text, err := textOf(row.Value)
			if err != nil {
				t.Error(err)
			}
			return valueOf(text + in.text), nil
		})
	}
	ended := int64(time.Since(l.began))
	if err != nil {
		if in.kind == 'r' || fault.Is(err, fault.Unavailable) || fault.Is(err, fault.Overloaded) {
			return // nothing happened: leave it out and it must be so
		}
		ended, out.unknown = math.MaxInt64, true
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, porcupine.Operation{ClientId: id, Input: in, Output: out, Call: int64(began), Return: ended})
}

// end ends the load, reads every row once more and checks all histories.
func (l *load) end(t *testing.T, c *metaapi.Client) {
	t.Helper()
	l.stop()
	l.done.Wait()
	ops, unknown := 0, 0
	for _, h := range l.rows {
		began := int64(time.Since(l.began))
		row, err := c.Get(context.Background(), h.key)
		if err != nil {
			t.Errorf("reading after all: %v", err)
			continue
		}
		text, err := textOf(row.Value)
		if err != nil {
			t.Error(err)
		}
		h.ops = append(h.ops, porcupine.Operation{ClientId: 99, Input: call{kind: 'r'}, Output: outcome{read: text}, Call: began, Return: int64(time.Since(l.began))})
		ops += len(h.ops)
		for _, op := range h.ops {
			if op.Output.(outcome).unknown {
				unknown++
			}
		}
		if result := porcupine.CheckOperationsTimeout(rowModel, h.ops, 20*time.Second); result != porcupine.Ok {
			t.Errorf("the history of %q is %s: %d operations", h.key.Key, result, len(h.ops))
		}
	}
	t.Logf("%d operations, %d with an unknown end", ops, unknown)
	if ops < 10*len(l.rows) {
		t.Errorf("only %d operations", ops)
	}
}

// still is a bucket nobody writes to while the layout changes: some rows with
// bodies, and as many deleted ones.
var still = object.BucketID{2}

func stillKey(i int) metaapi.RowKey {
	return metaapi.RowKey{Table: metaapi.Objects, Bucket: still, Key: fmt.Sprintf("still %04d", i)}
}

func (f *fleet) fillStill(c *metaapi.Client, rows int) {
	f.t.Helper()
	for i := range 2 * rows {
		if _, err := c.Put(f.ctx, stillKey(i), valueOf(fmt.Sprint(i))); err != nil {
			f.t.Fatal(err)
		}
		if i%2 == 1 {
			if _, err := c.Put(f.ctx, stillKey(i), nil); err != nil {
				f.t.Fatal(err)
			}
		}
	}
}

// checkStill expects a listing to have each of those rows and no other.
func checkStill(ctx context.Context, c *metaapi.Client, rows int) error {
	page, err := c.Scan(ctx, metaapi.Range{Table: metaapi.Objects, Bucket: still, Limit: 1000})
	if err != nil {
		return err
	}
	if len(page.Entries) != rows || page.More {
		return fault.New(fault.Corrupt, "a listing has %d entries, want %d", len(page.Entries), rows)
	}
	for i, e := range page.Entries {
		if e.Key != stillKey(2*i).Key {
			return fault.New(fault.Corrupt, "entry %d is %q", i, e.Key)
		}
	}
	return nil
}

// watchStill lists until the test's context ends.
func (f *fleet) watchStill(c *metaapi.Client, rows int) (stop func()) {
	ctx, cancel := context.WithCancel(f.ctx)
	var done sync.WaitGroup
	listed := 0
	done.Go(func() {
		for ctx.Err() == nil {
			err := checkStill(ctx, c, rows)
			if fault.Is(err, fault.Corrupt) {
				f.t.Error(err)
			}
			if err == nil {
				listed++
			}
			time.Sleep(5 * time.Millisecond)
		}
	})
	return func() {
		cancel()
		done.Wait()
		if listed == 0 {
			f.t.Error("nothing was ever listed")
		}
	}
}

// TestChangesUnderLoad: rows stay linearizable registers, and listings whole,
// while nodes are added, removed, replaced altogether and come back, changes are
// aborted and nodes restarted amid them.
func TestChangesUnderLoad(t *testing.T) {
	const rows = 150
	f := newFleet(t, 6, 3)
	c := f.client()
	f.fillStill(c, rows)
	l := f.startLoad(12, 4)
	unwatch := f.watchStill(f.client(), rows)

	f.change(f.even(0, 1, 2, 3), nil)
	f.change(f.even(1, 2, 3), nil)
	f.change(f.even(0, 4, 5), func() { f.restart(2) }) // none stays, node 0 returns
	f.begin(f.even(1, 2, 3))                           // not fenced yet
	f.end(true)
	f.begin(f.even(1, 2, 3))
	f.takeLows()
	f.end(true)
	f.begin(f.even(1, 2, 3))
	f.takeLows()
	f.restart(1) // it gains
	f.copy(func() { f.restart(4) })
	f.end(true) // all copied, and for nothing
	f.change(f.even(1, 2, 3), func() { f.restart(1) })
	f.change(f.even(0, 1, 2, 3, 4, 5), func() { f.restart(3) })

	unwatch()
	l.end(t, c)
	f.finally(c, rows)
}

// finally expects that nothing is left to do, that the rows nobody wrote are
// whole, and that no node keeps what is not its own.
func (f *fleet) finally(c *metaapi.Client, rows int) {
	f.t.Helper()
	f.eventually("settling", func(ctx context.Context) error {
		for i, r := range f.runs {
			if gauge(f.t, r, "hangar_meta_dropping_partitions")+gauge(f.t, r, "hangar_meta_pending_partitions") > 0 {
				return fmt.Errorf("node %d is not settled", i)
			}
		}
		return checkStill(ctx, c, rows)
	})
	for i := range 2 * rows {
		row, err := c.Get(f.ctx, stillKey(i))
		want := fmt.Sprint(i)
		if i%2 == 1 {
			want = ""
		}
		text, wrong := textOf(row.Value)
		if err := errors.Join(err, wrong); err != nil || text != want {
			f.t.Errorf("row %d reads %q, %v", i, text, err)
		}
	}
	counters, err := c.Counters(f.ctx, metaapi.Objects, still)
	if err != nil || counters.Count < int64(rows)*9/10 {
		f.t.Errorf("counters are %+v, %v", counters, err)
	}
}

func gauge(t *testing.T, r *running, name string) float64 {
	t.Helper()
	families, err := r.telemetry.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == name {
			return family.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}
