package record_test

import (
	"testing"
	"time"

	"hangar/shared/fault"
	"hangar/shared/metaapi"
	"hangar/shared/metaapi/metatest"
	"hangar/shared/object"
	"hangar/shared/record"
)

// TestGiveUp: an upload that was held and given up can be held at once, whatever
// the clock's resolution.
func TestGiveUp(t *testing.T) {
	rows := metatest.NewRows()
	now := time.Date(2026, 1, 2, 3, 4, 5, 678_912_345, time.UTC)
	u := record.Uploads{Rows: rows, Now: func() time.Time { return now }}
	bucket, id := object.NewBucketID(), object.NewVersionID()
	head := record.UploadHead{Started: now}
	if _, err := rows.Put(t.Context(), record.UploadKey(bucket, "k", id), &metaapi.Value{Head: head.Append(nil), Body: record.AppendUploadBody(nil, record.Metadata{})}); err != nil {
		t.Fatal(err)
	}
	held, err := u.Hold(t.Context(), bucket, "k", id)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := u.Hold(t.Context(), bucket, "k", id); !fault.Is(err, fault.Unavailable) {
		t.Errorf("held twice: %v", err)
	}
	if err := u.GiveUp(t.Context(), held); err != nil {
		t.Fatal(err)
	}
	if _, err := u.Hold(t.Context(), bucket, "k", id); err != nil {
		t.Errorf("after it was given up: %v", err)
	}
}
