package table_test

import (
	"bytes"
	"fmt"

	"hangar/services/meta/internal/record"
	"hangar/shared/kv"
	"hangar/shared/layout"
	"hangar/shared/metaapi"
)

// verify recomputes everything that the table derives from its rows and
// compares it with what is stored: counters, digests, bodies kept apart and the
// list of vacant rows.
func verify(s kv.Store, bits uint8) error {
	want := map[string][]byte{} // derived key → value, nil for any
	return s.View(func(r kv.Reader) error {
		counters := map[string]metaapi.Counters{}
		digests := map[string]record.Digest{}
		rows := r.Iterate([]byte{'r'})
		defer rows.Close()
		for rows.Next() {
			rk := bytes.Clone(rows.Key())
			key, err := record.ParseRowKey(rk)
			if err != nil {
				return err
			}
			b, err := rows.Value()
			if err != nil {
				return err
			}
			row, err := record.Decode(b)
			if err != nil {
				return fmt.Errorf("row %+v: %w", key, err)
			}
			slice := string(record.DigestKey(record.Slice(key.Bucket, key.Key)))
			digests[slice] = digests[slice].Plus(record.DigestOf(rk, row.Tag))
			if v := row.Value; v != nil {
				p := layout.OfRow(key.Bucket, key.Key, bits)
				ck := string(record.CounterKey(key.Table, key.Bucket, uint16(p)))
				counters[ck] = metaapi.Counters{Count: counters[ck].Count + v.Count, Bytes: counters[ck].Bytes + v.Bytes}
			} else {
				since := row.Tag.Time
				if row.Tag.IsZero() {
					since = row.Promised.Time
				}
				want[string(record.VacantKey(since, rk))] = []byte{}
			}
			if row.BodyApart() {
				body, found, err := r.Get(record.BodyKey(rk))
				if err != nil {
					return err
				}
				if !found || len(body) != row.BodyBytes {
					return fmt.Errorf("row %+v has %d of %d bytes of body", key, len(body), row.BodyBytes)
				}
				want[string(record.BodyKey(rk))] = nil
			}
		}
		for k, c := range counters {
			want[k] = record.EncodeCounters(c)
		}
		for k, d := range digests {
			want[k] = record.EncodeDigest(d)
		}
		return compare(r, want)
	})
}

// compare checks that the derived keys are those of want. Zero sums may be
// there or not.
func compare(r kv.Reader, want map[string][]byte) error {
	seen := 0
	for _, kind := range "bcdv" {
		it := r.Iterate([]byte{byte(kind)})
		defer it.Close()
		for it.Next() {
			got, err := it.Value()
			if err != nil {
				return err
			}
			expect, ok := want[string(it.Key())]
			zero := kind != 'b' && kind != 'v' && len(bytes.Trim(got, "\x00")) == 0
			switch {
			case ok:
				seen++
				if expect != nil && !bytes.Equal(got, expect) {
					return fmt.Errorf("under %x is %x, want %x", it.Key(), got, expect)
				}
			case !zero:
				return fmt.Errorf("%x is not derived from any row", it.Key())
			}
		}
	}
	missing := len(want) - seen
	for k, v := range want {
		if zeroSum := (k[0] == 'c' || k[0] == 'd') && len(bytes.Trim(v, "\x00")) == 0; zeroSum {
			missing--
			if _, found, err := r.Get([]byte(k)); found || err != nil {
				missing++
			}
		}
	}
	if missing != 0 {
		return fmt.Errorf("%d derived keys are missing", missing)
	}
	return nil
}
