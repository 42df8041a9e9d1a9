package objects

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"hangar/shared/fault"
	"hangar/shared/metaapi"
	"hangar/shared/record"
)

func TestReadConditions(t *testing.T) {
	w := newWorld(t)
	info := w.put(t, "k", []byte("x"))
	second := info.Modified.Truncate(time.Second)
	tag := `"` + info.ETag + `"`
	failed, same := "412", "304"
	for _, c := range []struct {
		in   ReadConditions
		want string
	}{
		{ReadConditions{}, ""},
		{ReadConditions{IfMatch: tag}, ""},
		{ReadConditions{IfMatch: info.ETag}, ""},
		{ReadConditions{IfMatch: `"a", ` + tag}, ""},
		{ReadConditions{IfMatch: "*"}, ""},
		{ReadConditions{IfMatch: `"a"`}, failed},
		{ReadConditions{IfMatch: "W/" + tag}, failed},
		{ReadConditions{IfMatch: tag, IfUnmodifiedSince: second.Add(-time.Hour)}, ""},
		{ReadConditions{IfUnmodifiedSince: second.Add(-time.Second)}, failed},
		{ReadConditions{IfUnmodifiedSince: second}, ""},
		{ReadConditions{IfNoneMatch: tag}, same},
		{ReadConditions{IfNoneMatch: "W/" + tag}, same},
		{ReadConditions{IfNoneMatch: "*"}, same},
		{ReadConditions{IfNoneMatch: `"a"`}, ""},
		{ReadConditions{IfNoneMatch: `"a"`, IfModifiedSince: second}, ""},
		{ReadConditions{IfModifiedSince: second}, same},
		{ReadConditions{IfModifiedSince: second.Add(-time.Second)}, ""},
		{ReadConditions{IfMatch: `"a"`, IfNoneMatch: tag}, failed},
	} {
		got := ""
		info, r, err := w.Get(t.Context(), GetInput{Location: w.at("k"), If: c.in})
		switch {
		case errors.Is(err, ErrNotModified):
			got = same
		case fault.Is(err, fault.Precondition):
			got = failed
		case err != nil:
			t.Error(err)
		}
		if got != c.want || (r == nil) != (err != nil) || info.ETag == "" {
			t.Errorf("%+v: %q, want %q (%v)", c.in, got, c.want, err)
		}
	}
}

func TestPartNumberOfAPlainObject(t *testing.T) {
	w := newWorld(t)
	w.put(t, "k", []byte("abc"))
	got, info := w.read(t, GetInput{Location: w.at("k"), PartNumber: 1})
	if string(got) != "abc" || info.Part == nil || info.PartCount != 0 {
		t.Errorf("%q, %+v", got, info)
	}
	if _, _, err := w.Get(t.Context(), GetInput{Location: w.at("k"), PartNumber: 2}); !errors.Is(err, ErrInvalidPartNum) {
		t.Error(err)
	}
}

// A block that is lost shows before the first byte, or ends the content early
// with an error: never as a clean end.
func TestLostBlocks(t *testing.T) {
	w := newWorld(t)
	w.put(t, "k", content0(20*testBlock))
	for at := range 20 {
		n := 0
		w.blocks.FailWith(func(string) error {
			if n++; n > at {
				return fault.New(fault.NotFound, "lost")
			}
			return nil
		})
		info, r, err := w.Get(t.Context(), GetInput{Location: w.at("k")})
		if err != nil {
			if !fault.Is(err, fault.Corrupt) && !fault.Is(err, fault.NotFound) {
				t.Errorf("at %d: %v", at, err)
			}
			continue
		}
		read, err := io.Copy(io.Discard, r)
		if err == nil || read >= info.Size {
			t.Errorf("at %d: %d bytes, %v", at, read, err)
		}
		if _, again := r.Read(make([]byte, 1)); again == nil || again == io.EOF {
			t.Errorf("at %d: after the error: %v", at, again)
		}
		r.Close()
	}
	if len(w.reads.held) != 0 {
		t.Errorf("%d blocks held", len(w.reads.held))
	}
}

func TestReplacedBeforeTheFirstBlock(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.ReadWindow = 1 })
	w.put(t, "k", content0(100))
	var collected atomic.Bool
	w.blocks.FailWith(func(op string) error {
		if op == "get" && collected.CompareAndSwap(false, true) {
			return fault.New(fault.NotFound, "collected")
		}
		return nil
	})
	w.rows.spoil(func(op string, _ metaapi.RowKey) error {
		if collected.Load() && op == "get" {
			w.rows.spoil(nil)
			w.put(t, "k", content0(101))
		}
		return nil
	})
	w.wants(t, "k", content0(101))
}

func TestReaderCloseAndCancel(t *testing.T) {
	w := newWorld(t)
	data := content0(100 * testBlock)
	w.put(t, "k", data)
	for n := range 40 {
		ctx, cancel := context.WithCancel(t.Context())
		_, r, err := w.Get(ctx, GetInput{Location: w.at("k")})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.CopyN(io.Discard, r, int64(n*5)); err != nil {
			t.Fatal(err)
		}
		if n%2 == 0 {
			cancel()
			if _, err := io.Copy(io.Discard, r); !errors.Is(err, context.Canceled) {
				t.Errorf("after cancel: %v", err)
			}
		}
		r.Close()
		r.Close()
		if _, err := r.Read(make([]byte, 1)); err == nil || err == io.EOF {
			t.Errorf("read after close: %v", err)
		}
		cancel()
	}
	if len(w.reads.held) != 0 {
		t.Errorf("%d blocks held", len(w.reads.held))
	}
}

// With little memory readers do without read-ahead, and wait for each other.
func TestReadersShareLittleMemory(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.ReadMemory, c.WriteMemory = 2*testBlock, 2*testBlock })
	data := content0(50 * testBlock)
	w.put(t, "k", data)
	failed := make(chan error, 6)
	for range cap(failed) {
		go func() {
			_, r, err := w.Get(context.Background(), GetInput{Location: w.at("k")})
			if err == nil {
				var got []byte
				if got, err = io.ReadAll(r); err == nil && !slices.Equal(got, data) {
					err = errors.New("other bytes")
				}
				r.Close()
			}
			failed <- err
		}()
	}
	for range cap(failed) {
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
}

// naiveList is a listing by sorting, to compare with.
func naiveList(keys []string, in ListInput) (entries []string) {
	seen := map[string]bool{}
	for _, k := range keys {
		if !strings.HasPrefix(k, in.Prefix) {
			continue
		}
		if in.Delimiter != "" {
			if i := strings.Index(k[len(in.Prefix):], in.Delimiter); i >= 0 {
				k = k[:len(in.Prefix)+i+len(in.Delimiter)]
			}
		}
		if !seen[k] {
			seen[k] = true
			entries = append(entries, k)
		}
	}
	return entries
}

func TestListAgainstNaive(t *testing.T) {
	w := newWorld(t)
	var keys []string
	for range 300 {
		var b strings.Builder
		for range 1 + rand.IntN(6) {
			b.WriteString([]string{"a", "b", "/", "//", "ü", "\x00", "~"}[rand.IntN(7)])
		}
		if !slices.Contains(keys, b.String()) {
			keys = append(keys, b.String())
			w.put(t, b.String(), nil)
		}
	}
	slices.Sort(keys)
	for _, prefix := range []string{"", "a", "a/", "/", "zz"} {
		for _, delimiter := range []string{"", "/", "//", "ab", "ü"} {
			for _, limit := range []int{1, 2, 7, 1000} {
				in := ListInput{Bucket: w.bucket, Prefix: prefix, Delimiter: delimiter, Limit: limit}
				want := naiveList(keys, in)
				var got []string
				for {
					l, err := w.List(t.Context(), in)
					if err != nil {
						t.Fatal(err)
					}
					var page []string
					for _, o := range l.Objects {
						page = append(page, o.Key)
					}
					page = append(page, l.Prefixes...)
					slices.Sort(page)
					if len(page) > limit || l.More && len(page) == 0 {
						t.Fatalf("page of %d for %d", len(page), limit)
					}
					got = append(got, page...)
					if in.After = l.Next; !l.More {
						break
					}
				}
				if !slices.Equal(got, want) {
					t.Fatalf("%+v: %q, want %q", in, got, want)
				}
			}
		}
	}
	if l, err := w.List(t.Context(), ListInput{Bucket: w.bucket}); err != nil || l.More || l.Objects != nil {
		t.Errorf("limit 0: %+v, %v", l, err)
	}
}

func TestListShowsWhatHeadDoes(t *testing.T) {
	w := newWorld(t)
	id := w.create(t, "parts")
	if _, err := w.finishUpload("parts", id, w.part(t, "parts", id, 1, content0(9), "")); err != nil {
		t.Fatal(err)
	}
	for _, n := range edges() {
		w.put(t, fmt.Sprintf("%04d", n), content0(n))
	}
	l, err := w.List(t.Context(), ListInput{Bucket: w.bucket, Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range l.Objects {
		head, err := w.Head(t.Context(), o.Location)
		if err != nil || head.ETag != o.ETag || head.Size != o.Size || !head.Modified.Equal(o.Modified) {
			t.Errorf("%+v, %+v, %v", o, head, err)
		}
	}
	sum, err := w.rows.Counters(t.Context(), metaapi.Objects, w.bucket)
	if err != nil || sum.Count != int64(len(l.Objects)) {
		t.Errorf("%+v, %v", sum, err)
	}
}

func TestDamagedRowIsCorrupt(t *testing.T) {
	w := newWorld(t)
	w.put(t, "k", content0(100))
	key := record.ObjectKey(w.bucket, "k")
	row, err := w.rows.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []metaapi.Value{{Head: row.Value.Head[1:], Body: row.Value.Body}, {Head: row.Value.Head, Body: row.Value.Body[:9]}} {
		if _, err := w.rows.Put(t.Context(), key, &v); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Head(t.Context(), w.at("k")); !fault.Is(err, fault.Corrupt) {
			t.Error(err)
		}
	}
}
