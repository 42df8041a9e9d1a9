package k2v

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"hangar/services/gateway/internal/items"
)

// Whatever a client sends as a batch is taken only when it is JSON in UTF-8 to
// its end, and refused with an error of the API otherwise; what is taken says the
// same when it is written again.
func FuzzBatch(f *testing.F) {
	for _, s := range []string{
		`[]`, `[{"pk":"a","sk":"b","ct":null,"v":"dGV4dA=="}]`, `[{"pk":"a","sk":"b","v":null},{"pk":"","sk":"","v":""}]`,
		`[{"pk":"a","sk":"b","ct":"AAAAAAAAAAA","v":"dGV4dA"}]`, "[{\"pk\":\"\xff\"}]", `[{"pk":"\ud800","sk":"","v":""}]`, `[{"PK":"a","sk":"b","v":"AA=="}] x`, `[1]`, `{}`, ``,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		writes, err := decodeWrites(body)
		var own *apiError
		switch {
		case err != nil && !errors.As(err, &own):
			t.Fatalf("%q: %v", body, err)
		case err != nil:
			return
		case !json.Valid(body) || !utf8.Valid(body):
			t.Fatalf("%q is taken", body)
		}
		if len(writes) > items.MaxBatchWrites {
			t.Fatalf("%d writes", len(writes))
		}
		again := []map[string]any{}
		for _, w := range writes {
			if w.Value.Deleted != (w.Value.Data == nil) || len(w.Value.Data) > items.MaxValueBytes {
				t.Fatalf("%+v", w)
			}
			again = append(again, map[string]any{"pk": w.Partition, "sk": w.Sort, "v": w.Value.Data})
		}
		second, err := decodeWrites(encode(again))
		if err != nil || len(second) != len(writes) {
			t.Fatalf("%q became %d writes, then %d: %v", body, len(writes), len(second), err)
		}
		for i, w := range second {
			if w.Partition != writes[i].Partition || w.Sort != writes[i].Sort || !bytes.Equal(w.Value.Data, writes[i].Value.Data) || w.Value.Deleted != writes[i].Value.Deleted {
				t.Fatalf("%q: %+v became %+v", body, writes[i], w)
			}
		}
	})
}

func decodeWrites(body []byte) (writes []items.Write, err error) {
	return writes, decodeList(bytes.NewReader(body), items.MaxBatchWrites, func(i int, in *insertRequest) error {
		w, err := in.write(i)
		writes = append(writes, w)
		return err
	})
}

// However a request looks, it is one operation or refused with an error of the
// API, and a polling request likewise.
func FuzzRoute(f *testing.F) {
	f.Add("GET", "causality_token=a&sort_key=b&timeout=3", `{"prefix":null,"seenMarker":"x","timeout":1}`)
	f.Add("POST", "delete", `{"start":"a","end":1}`)
	f.Add("SEARCH", "poll_range&delete", `{}`)
	f.Add("PUT", "sort_key=a&sort_key=b", `null`)
	f.Fuzz(func(t *testing.T, method, query, body string) {
		var own *apiError
		if q, err := url.ParseQuery(query); err == nil {
			for _, item := range []bool{true, false} {
				if r, err := findRoute(method, item, q); (r == nil) != (err != nil) || err != nil && !errors.As(err, &own) {
					t.Fatalf("%v, %v", r, err)
				}
			}
		}
		var in pollRequest
		if err := decodeOne(strings.NewReader(body), &in); err != nil && !errors.As(err, &own) {
			t.Fatalf("%q: %v", body, err)
		} else if err == nil && !json.Valid([]byte(body)) {
			t.Fatalf("%q is taken", body)
		}
	})
}
