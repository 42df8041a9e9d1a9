package metatest

import (
	"context"
	"testing"

	"hangar/shared/metaapi"
	"hangar/shared/register"
)

// RunAdmission is the conformance suite of what a metaapi.Replica does about
// admission. fresh returns an empty node that holds every partition, and what
// tells it of a change of access.
func RunAdmission(t *testing.T, fresh func(t *testing.T) (r metaapi.Replica, change func(revision uint64))) {
	ask := func(t *testing.T, r metaapi.Replica, admitted uint64, q register.Request) register.Reply {
		t.Helper()
		q.Admitted = admitted
		return handle(t, r, objectKey("k"), q)
	}
	write := func(time int64) register.Request {
		return register.Request{Kind: register.Apply, Row: register.Row{Tag: tag(time), Op: tag(time), Value: value("v", "")}}
	}
	t.Run("Rows", func(t *testing.T) {
		r, change := fresh(t)
		wantCode(t, ask(t, r, 3, write(1)), register.Done)
		change(5)
		for _, q := range []register.Request{
			write(2), {Kind: register.Read}, {Kind: register.Prepare, Ballot: tag(9)},
		} {
			if got := ask(t, r, 4, q); got.Code != register.Behind || got.Revision != 5 {
				t.Errorf("kind %d, admitted by an older state, is answered %+v", q.Kind, got)
			}
		}
		got := ask(t, r, 5, register.Request{Kind: register.Read})
		if got.Code != register.Held || got.Row.Tag != tag(1) || !got.Promise.Less(tag(9)) {
			t.Errorf("what was refused left %+v", got)
		}
		wantCode(t, ask(t, r, 5, write(3)), register.Done)
		wantCode(t, ask(t, r, 6, write(4)), register.Done) // this node is behind
		wantCode(t, ask(t, r, 0, write(5)), register.Done) // the cluster's own
	})
	t.Run("Scan", func(t *testing.T) {
		r, change := fresh(t)
		wantCode(t, ask(t, r, 3, write(1)), register.Done)
		change(5)
		for admitted, want := range map[uint64]uint64{0: 0, 4: 5, 5: 0, 6: 0} {
			q := metaapi.ScanRequest{Epoch: 1, Admitted: admitted, Table: metaapi.Objects, Bucket: suiteBucket, Limit: 10, MaxBytes: 1000}
			got, err := r.Scan(context.Background(), q)
			if err != nil || got.Behind != want || (len(got.Rows) == 1) != (want == 0) {
				t.Errorf("a scan admitted by %d: %+v, %v", admitted, got, err)
			}
		}
	})
}
