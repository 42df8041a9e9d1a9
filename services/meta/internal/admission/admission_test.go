package admission_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"hangar/services/meta/internal/admission"
	"hangar/shared/control"
	"hangar/shared/metaapi"
	"hangar/shared/metaapi/metatest"
	"hangar/shared/object"
	"hangar/shared/register"
)

// views is a mirror that a test moves on.
type views struct{ view atomic.Pointer[control.View] }

func newViews() *views {
	v := new(views)
	v.set(0)
	return v
}

func (v *views) set(access control.Revision) {
	v.view.Store(&control.View{Revision: access, Access: access})
}

func TestGateIsAReplica(t *testing.T) {
	metatest.RunReplica(t, func(*testing.T) metaapi.Replica {
		return admission.New(metatest.NewReplica(), newViews().view.Load)
	})
}

func TestGate(t *testing.T) {
	metatest.RunAdmission(t, func(*testing.T) (metaapi.Replica, func(uint64)) {
		v := newViews()
		return admission.New(metatest.NewReplica(), v.view.Load), v.set
	})
}

// slow is a replica whose requests end when a test says so.
type slow struct {
	metaapi.Replica
	end chan struct{}
}

func (s slow) Handle(context.Context, metaapi.RowKey, register.Request) (register.Reply, error) {
	<-s.end
	return register.Reply{Code: register.Done}, nil
}

// TestQuiesce: whoever waits for a change to hold waits for what was let in
// before it, too.
func TestQuiesce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, s := newViews(), slow{end: make(chan struct{})}
		g := admission.New(s, v.view.Load)
		ask := func() register.Code {
			reply, err := g.Handle(t.Context(), metaapi.RowKey{}, register.Request{Kind: register.Apply, Admitted: 4})
			if err != nil {
				t.Error(err)
			}
			return reply.Code
		}
		before := make(chan register.Code, 1)
		go func() { before <- ask() }()
		synctest.Wait()
		v.set(5)
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := g.Quiesce(short); err == nil {
			t.Fatal("a request that was let in before is still under way")
		}
		if code := ask(); code != register.Behind {
			t.Errorf("after the change it is answered %d", code)
		}
		close(s.end)
		if err := g.Quiesce(t.Context()); err != nil {
			t.Fatal(err)
		}
		if code := <-before; code != register.Done {
			t.Errorf("the one let in before is answered %d", code)
		}
		synctest.Wait()
	})
}

// BenchmarkGate measures what the gate adds to a request.
func BenchmarkGate(b *testing.B) {
	v := newViews()
	v.set(5)
	r := nothing{}
	key := metaapi.RowKey{Table: metaapi.Objects, Bucket: object.BucketID{1}, Key: "k"}
	for name, r := range map[string]metaapi.Replica{"without": r, "with": admission.New(r, v.view.Load)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := r.Handle(context.Background(), key, register.Request{Kind: register.Read, Admitted: 6}); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}

// nothing is a replica that does nothing.
type nothing struct{ metaapi.Replica }

func (nothing) Handle(context.Context, metaapi.RowKey, register.Request) (register.Reply, error) {
	return register.Reply{Code: register.Held}, nil
}
