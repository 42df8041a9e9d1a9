package table_test

import (
	"bytes"
	"fmt"

	"hangar/services/meta/internal/record"
	"hangar/shared/kv"
	"hangar/shared/layout"
	"hangar/shared/metaapi"
	"hangar/shared/segment"
)

// verify recomputes everything that the table derives from its rows and
// compares it with what is stored: counters, digests, the usage of segments and
// the list of vacant rows.
func verify(s kv.Store, bits uint8) error {
	want := map[string][]byte{} // derived key → value, nil for any
	return s.View(func(r kv.Reader) error {
		counters := map[string]metaapi.Counters{}
		digests := map[string]record.Digest{}
		usage := map[segment.ID]record.Usage{}
		items := map[string]metaapi.ItemCounters{}
		last := uint64(0)
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
			if row.Change != 0 {
				want[string(record.ChangeKey(key.Table, key.Bucket, key.Key, row.Change))] = []byte(key.Sub)
				last = max(last, row.Change)
			}
			if numbered := key.Table == metaapi.Items && !row.Tag.IsZero(); numbered != (row.Change != 0) {
				return fmt.Errorf("row %+v has the number %d", key, row.Change)
			}
			if key.Table == metaapi.Items && row.Value != nil {
				c, _, err := metaapi.ParseItemCounters(row.Value.Head)
				if err != nil {
					return err
				}
				k := string(record.ItemsKey(key.Table, key.Bucket, key.Key))
				items[k] = items[k].Plus(c)
			}
			if row.BodyApart() {
				u := usage[row.Place.Segment]
				u.LiveBytes += row.Place.RecordBytes()
				u.LiveBodies++
				u.End = max(u.End, row.Place.End())
				usage[row.Place.Segment] = u
			}
		}
		stored := r.Iterate(record.UsagePrefix())
		defer stored.Close()
		for stored.Next() { // those in which nothing lives too
			id, err := record.ParseUsageKey(stored.Key())
			if err != nil {
				return err
			}
			if _, known := usage[id]; !known {
				usage[id] = record.Usage{}
			}
		}
		for id, u := range usage {
			if err := compareUsage(r, id, u); err != nil {
				return err
			}
		}
		for k, c := range counters {
			want[k] = record.EncodeCounters(c)
		}
		for k, c := range items {
			if c != (metaapi.ItemCounters{}) {
				want[k] = record.EncodeItems(c)
			}
		}
		if err := compareNumber(r, last); err != nil {
			return err
		}
		for k, d := range digests {
			want[k] = record.EncodeDigest(d)
		}
		return compare(r, want)
	})
}

// compareNumber checks that the last number is not below that of any row.
func compareNumber(r kv.Reader, used uint64) error {
	b, found, err := r.Get(record.NumberKey())
	if err != nil || !found && used == 0 {
		return err
	}
	if n, err := record.DecodeNumber(b); err != nil || n < used {
		return fmt.Errorf("the last number is %d, but %d is used: %w", n, used, err)
	}
	return nil
}

// compareUsage checks what is stored of a segment. Its end may be that of a body
// that died.
func compareUsage(r kv.Reader, id segment.ID, want record.Usage) error {
	b, _, err := r.Get(record.UsageKey(id))
	if err != nil {
		return err
	}
	got, err := record.DecodeUsage(b)
	if err == nil && (got.LiveBytes != want.LiveBytes || got.LiveBodies != want.LiveBodies || got.End < want.End) {
		err = fmt.Errorf("usage of segment %d is %+v, want %+v", id, got, want)
	}
	return err
}

// compare checks that the derived keys are those of want. Zero sums may be
// there or not.
func compare(r kv.Reader, want map[string][]byte) error {
	seen := 0
	for _, kind := range "cdvis" {
		it := r.Iterate([]byte{byte(kind)})
		defer it.Close()
		for it.Next() {
			got, err := it.Value()
			if err != nil {
				return err
			}
			expect, ok := want[string(it.Key())]
			zero := (kind == 'c' || kind == 'd') && len(bytes.Trim(got, "\x00")) == 0
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
