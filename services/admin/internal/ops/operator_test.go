package ops

import (
	"context"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"hangar/shared/control"
	"hangar/shared/fault"
	"hangar/shared/natsd"
	"hangar/shared/nodeapi"
	"hangar/shared/object"
	"hangar/shared/rpc"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// bench is an Ops on a real broker, with a clock that the test sets.
type bench struct {
	*Ops
	t    *testing.T
	kv   jetstream.KeyValue
	time time.Time
}

func newBench(t *testing.T) *bench {
	t.Helper()
	srv, err := natsd.Start(natsd.Options{Dir: t.TempDir(), Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Shutdown)
	ctx, stop := context.WithCancel(context.Background())
	conn, err := rpc.Connect(ctx, rpc.Options{InProcess: srv.InProcess(), Node: object.NewNodeID(), Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	store, err := control.OpenStore(ctx, conn.NATS(), control.StoreOptions{})
	if err != nil {
		t.Fatal(err)
	}
	mirror, err := control.NewMirror(conn.NATS(), control.MirrorOptions{Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- mirror.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	js, err := jetstream.New(conn.NATS())
	if err != nil {
		t.Fatal(err)
	}
	kv, err := js.KeyValue(ctx, control.BucketName)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, kv: kv, time: time.Now()}
	b.Ops = New(Options{Store: store, Mirror: mirror, Self: conn.Node(), Log: quiet, Now: func() time.Time { return b.time }})
	return b
}

func (b *bench) sync() *control.View {
	b.t.Helper()
	v, err := b.store.Sync(b.t.Context(), b.mirror)
	if err != nil {
		b.t.Fatal(err)
	}
	return v
}

// dangle writes an alias of a bucket that is not there.
func (b *bench) dangle(name string) {
	b.t.Helper()
	record := `{"format":1,"data":{"bucket":"` + object.NewBucketID().String() + `"}}`
	if _, err := b.kv.PutString(b.t.Context(), "alias."+name, record); err != nil {
		b.t.Fatal(err)
	}
}

func TestRepairOfAliases(t *testing.T) {
	b, ctx := newBench(t), t.Context()
	k, _, err := b.store.CreateKey(ctx, control.Key{Name: "k"})
	if err != nil {
		t.Fatal(err)
	}
	kept, _, err := b.store.CreateBucket(ctx, control.NewBucket{Name: "kept", Keys: map[string]control.Permission{
		k.ID: {Read: true}, "GKdeleted1": {Read: true},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.store.UpdateKey(ctx, k.ID, func(k *control.Key) error {
		k.Aliases = map[string]object.BucketID{"mine": kept.ID, "gone": object.NewBucketID()}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	b.dangle("dangling")
	op := Operator{b.Ops}
	if err := op.Repair(ctx, nodeapi.Repair{Kind: nodeapi.RepairAliases}); err != nil {
		t.Fatal(err)
	}
	if err := op.Repair(ctx, nodeapi.Repair{Kind: nodeapi.RepairAliases}); !fault.Is(err, fault.Conflict) {
		t.Errorf("a second order at the same time: %v", err)
	}
	<-b.tidy.order // as Run would
	b.tidyAliases(ctx)
	v := b.sync()
	if got := v.Bucket(kept.ID).Keys; len(got) != 1 || !got[k.ID].Read {
		t.Errorf("rights: %v", got)
	}
	if got := v.Key(k.ID).Aliases; len(got) != 1 || got["mine"] != kept.ID {
		t.Errorf("own names: %v", got)
	}
	// A name that dangles for a moment may belong to a bucket that is being made.
	b.dangle("fresh")
	b.tidyAliases(ctx)
	if len(b.sync().Dangling()) != 2 {
		t.Error("a name was removed at first sight")
	}
	b.time = b.time.Add(abandonedAfter)
	b.tidyAliases(ctx)
	v = b.sync()
	if d := v.Dangling(); len(d) != 1 || d["fresh"].IsZero() || v.Alias("kept") == nil {
		t.Errorf("left: %v", d)
	}
	workers, err := op.Workers(ctx)
	if err != nil || workers[1].State != nodeapi.Done || workers[1].Notes[0] != "3 records changed" || workers[1].Errors != 0 {
		t.Errorf("%+v %v", workers, err)
	}
	if err := op.Repair(ctx, nodeapi.Repair{Kind: nodeapi.RepairAliases}); err != nil {
		t.Errorf("a new order after the end: %v", err)
	}
	if err := op.Repair(ctx, nodeapi.Repair{Kind: nodeapi.RepairBlocks}); !fault.Is(err, fault.NotImplemented) {
		t.Error(err)
	}
}
