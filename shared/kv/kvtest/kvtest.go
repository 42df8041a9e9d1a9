// Package kvtest is the conformance suite of kv.Store. Every implementation
// and every wrapper runs it.
package kvtest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"testing"

	"hangar/shared/fault"
	"hangar/shared/kv"
)

// Run holds the stores that open returns, each new and empty, to the contract.
func Run(t *testing.T, open func(t *testing.T) kv.Store) {
	t.Run("get and overwrite", func(t *testing.T) { testGet(t, open(t)) })
	t.Run("last change of a key counts", func(t *testing.T) { testLastCounts(t, open(t)) })
	t.Run("iterate within a prefix", func(t *testing.T) { testIterate(t, open(t)) })
	t.Run("iterate in reverse", func(t *testing.T) { testReverse(t, open(t)) })
	t.Run("a view is a snapshot", func(t *testing.T) { testSnapshot(t, open(t)) })
	t.Run("limits", func(t *testing.T) { testLimits(t, open(t)) })
	t.Run("agrees with a map", func(t *testing.T) { testModel(t, open(t)) })
}

func commit(t *testing.T, s kv.Store, change func(*kv.Batch)) {
	t.Helper()
	var b kv.Batch
	change(&b)
	if err := s.Commit(&b); err != nil {
		t.Fatal(err)
	}
}

func set(t *testing.T, s kv.Store, key, value string) {
	t.Helper()
	commit(t, s, func(b *kv.Batch) { b.Set([]byte(key), []byte(value)) })
}

// keys lists the keys under prefix.
func keys(t *testing.T, s kv.Store, prefix string) (found []string) {
	t.Helper()
	err := s.View(func(r kv.Reader) error {
		it := r.Iterate([]byte(prefix))
		defer it.Close()
		for it.Next() {
			found = append(found, string(it.Key()))
		}
		return it.Err()
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func get(t *testing.T, s kv.Store, key string) (value string, found bool) {
	t.Helper()
	err := s.View(func(r kv.Reader) error {
		v, ok, err := r.Get([]byte(key))
		value, found = string(v), ok
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return value, found
}

func testGet(t *testing.T, s kv.Store) {
	if _, found := get(t, s, "a"); found {
		t.Error("an empty store has a")
	}
	set(t, s, "a", "1")
	set(t, s, "a", "2")
	set(t, s, "empty", "")
	if v, _ := get(t, s, "a"); v != "2" {
		t.Errorf("a = %q, want 2", v)
	}
	if v, found := get(t, s, "empty"); !found || v != "" {
		t.Errorf("empty = %q, %v", v, found)
	}
	commit(t, s, func(b *kv.Batch) { b.Delete([]byte("a")); b.Delete([]byte("never there")) })
	if _, found := get(t, s, "a"); found {
		t.Error("a is there after its deletion")
	}
}

func testLastCounts(t *testing.T, s kv.Store) {
	a, b := []byte("a"), []byte("b")
	commit(t, s, func(batch *kv.Batch) {
		batch.Set(a, []byte("1"))
		batch.Set(b, []byte("1"))
		batch.Delete(a)
		batch.Set(b, []byte("2"))
		batch.Set([]byte("c"), nil)
		batch.Delete([]byte("c"))
		batch.Set([]byte("c"), []byte("3"))
	})
	if got := keys(t, s, ""); !slices.Equal(got, []string{"b", "c"}) {
		t.Errorf("keys %q, want b and c", got)
	}
	if v, _ := get(t, s, "b"); v != "2" {
		t.Errorf("b = %q, want 2", v)
	}
}

func testIterate(t *testing.T, s kv.Store) {
	commit(t, s, func(b *kv.Batch) {
		for _, k := range []string{"a", "b", "b\x00", "b\x00x", "b\xff", "b\xff\xff", "c", "\xff"} {
			b.Set([]byte(k), []byte("value of "+k))
		}
	})
	if got := keys(t, s, "b"); !slices.Equal(got, []string{"b", "b\x00", "b\x00x", "b\xff", "b\xff\xff"}) {
		t.Errorf("under b: %q", got)
	}
	if got := keys(t, s, "x"); got != nil {
		t.Errorf("under x: %q", got)
	}
	err := s.View(func(r kv.Reader) error {
		it := r.Iterate([]byte("b"))
		defer it.Close()
		for _, step := range []struct{ seek, want string }{
			{"b\x00a", "b\x00x"}, {"b\xff", "b\xff"}, {"", "b"}, {"a", "b"}, {"b\x00", "b\x00"},
		} {
			if !it.Seek([]byte(step.seek)) || string(it.Key()) != step.want {
				t.Errorf("seek %q stands at %q, want %q", step.seek, it.Key(), step.want)
			}
			if v, err := it.Value(); err != nil || string(v) != "value of "+step.want {
				t.Errorf("value at %q = %q, %v", step.want, v, err)
			}
		}
		if !it.Next() || string(it.Key()) != "b\x00x" {
			t.Error("next after a seek goes elsewhere")
		}
		if it.Seek([]byte("c")) || it.Next() {
			t.Error("a seek past the prefix finds something")
		}
		return it.Err()
	})
	if err != nil {
		t.Fatal(err)
	}
}

func testReverse(t *testing.T, s kv.Store) {
	commit(t, s, func(b *kv.Batch) {
		for _, k := range []string{"a", "a\xff", "b", "b\x00", "b\x00x", "b\xff", "b\xff\xff", "c", "d\xff", "\xff", "\xff\xff"} {
			b.Set([]byte(k), []byte("value of "+k))
		}
	})
	commit(t, s, func(b *kv.Batch) { b.Delete([]byte("d\xff")); b.Set([]byte("b"), []byte("value of b")) })
	for prefix, want := range map[string][]string{
		"":      {"\xff\xff", "\xff", "c", "b\xff\xff", "b\xff", "b\x00x", "b\x00", "b", "a\xff", "a"},
		"b":     {"b\xff\xff", "b\xff", "b\x00x", "b\x00", "b"},
		"a\xff": {"a\xff"},
		"d":     nil,
		"\xff":  {"\xff\xff", "\xff"},
	} {
		if got := reversed(t, s, prefix); !slices.Equal(got, want) {
			t.Errorf("under %q in reverse: %q, want %q", prefix, got, want)
		}
	}
	err := s.View(func(r kv.Reader) error {
		it := r.IterateReverse([]byte("b"))
		defer it.Close()
		for _, step := range []struct{ seek, want string }{
			{"b\x00a", "b\x00"}, {"b\xff", "b\xff"}, {"c", "b\xff\xff"}, {"z", "b\xff\xff"}, {"b", "b"}, {"b\x00", "b\x00"},
		} {
			if !it.Seek([]byte(step.seek)) || string(it.Key()) != step.want {
				t.Fatalf("seek %q in reverse does not stand at %q", step.seek, step.want)
			}
			if v, err := it.Value(); err != nil || string(v) != "value of "+step.want {
				t.Errorf("value at %q = %q, %v", step.want, v, err)
			}
		}
		if !it.Next() || string(it.Key()) != "b" {
			t.Error("next after a seek in reverse goes elsewhere")
		}
		first, again := it.Next(), it.Next()
		if first || again || it.Seek([]byte("a\xff\xff")) || it.Seek(nil) {
			t.Error("something is before the first key of the prefix")
		}
		return it.Err()
	})
	if err != nil {
		t.Fatal(err)
	}
}

// reversed lists the keys under prefix from the last to the first.
func reversed(t *testing.T, s kv.Store, prefix string) (found []string) {
	t.Helper()
	err := s.View(func(r kv.Reader) error {
		it := r.IterateReverse([]byte(prefix))
		defer it.Close()
		for it.Next() {
			found = append(found, string(it.Key()))
		}
		return it.Err()
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func testSnapshot(t *testing.T, s kv.Store) {
	set(t, s, "a", "1")
	err := s.View(func(r kv.Reader) error {
		commit(t, s, func(b *kv.Batch) { b.Set([]byte("a"), []byte("2")); b.Set([]byte("b"), nil) })
		if v, _, err := r.Get([]byte("a")); err != nil || string(v) != "1" {
			t.Errorf("the snapshot has a = %q, %v", v, err)
		}
		it := r.Iterate(nil)
		defer it.Close()
		for it.Next() {
			if string(it.Key()) == "b" {
				t.Error("the snapshot has b")
			}
		}
		return it.Err()
	})
	if err != nil {
		t.Fatal(err)
	}
}

func testLimits(t *testing.T, s kv.Store) {
	var b kv.Batch
	for i := 0; b.Bytes() <= s.MaxBatchBytes(); i++ {
		b.Set(fmt.Append(nil, i), make([]byte, min(kv.MaxValueBytes, s.MaxBatchBytes()/2)))
	}
	if err := s.Commit(&b); !fault.Is(err, fault.Invalid) {
		t.Errorf("a batch too large: %v", err)
	}
	b.Reset()
	b.Set([]byte("small"), nil)
	b.Set(make([]byte, kv.MaxKeyBytes+1), nil)
	if err := s.Commit(&b); !fault.Is(err, fault.Invalid) {
		t.Errorf("a key too long: %v", err)
	}
	b.Reset()
	b.Set([]byte("small"), nil)
	b.Set([]byte("large"), make([]byte, kv.MaxValueBytes+1))
	if err := s.Commit(&b); !fault.Is(err, fault.Invalid) {
		t.Errorf("a value too long: %v", err)
	}
	if got := keys(t, s, ""); got != nil {
		t.Errorf("refused batches left %q", got)
	}
	b.Reset()
	for b.Bytes() < s.MaxBatchBytes()-200 {
		b.Set(fmt.Appendf(nil, "%d", b.Bytes()), nil)
	}
	if err := s.Commit(&b); err != nil {
		t.Errorf("a full batch of small changes: %v", err)
	}
	if s.Writable() != nil {
		t.Errorf("not writable: %v", s.Writable())
	}
}

// testModel compares random histories with a map.
func testModel(t *testing.T, s kv.Store) {
	rnd := rand.New(rand.NewPCG(1, 2))
	model := make(map[string][]byte)
	for range 200 {
		commit(t, s, func(b *kv.Batch) {
			for range 1 + rnd.IntN(10) {
				key := fmt.Sprintf("%02d", rnd.IntN(50))
				if rnd.IntN(3) == 0 {
					b.Delete([]byte(key))
					delete(model, key)
					continue
				}
				value := bytes.Repeat([]byte{byte(rnd.IntN(256))}, rnd.IntN(5000))
				b.Set([]byte(key), value)
				model[key] = value
			}
		})
	}
	var want []string
	for k := range model {
		want = append(want, k)
	}
	sort.Strings(want)
	if got := keys(t, s, ""); !slices.Equal(got, want) {
		t.Fatalf("keys %q, want %q", got, want)
	}
	slices.Reverse(want)
	if got := reversed(t, s, ""); !slices.Equal(got, want) {
		t.Fatalf("keys in reverse %q, want %q", got, want)
	}
	for k, v := range model {
		if got, found := get(t, s, k); !found || got != string(v) {
			t.Errorf("value of %s differs", k)
		}
	}
}
