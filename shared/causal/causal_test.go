package causal_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"hangar/shared/causal"
)

func value(s string) causal.Value { return causal.Value{Data: []byte(s)} }

func texts(s causal.Set) (all []string) {
	for _, v := range s.Values() {
		if v.Deleted {
			all = append(all, "-")
		} else {
			all = append(all, string(v.Data))
		}
	}
	slices.Sort(all)
	return all
}

func TestTheExampleOfTheSpecification(t *testing.T) {
	const node1, node2 = 1, 2
	var s causal.Set
	s = s.Insert(node1, nil, 10, value("v1"))
	t1 := s.Context()
	s = s.Insert(node1, nil, 10, value("v2"))
	s = s.Insert(node2, nil, 10, value("v3"))
	read := s.Context()
	if want := (causal.Context{{1, 11}, {2, 10}}); !reflect.DeepEqual(read, want) {
		t.Fatalf("context %v, want %v", read, want)
	}
	simple := s.Insert(node2, read, 10, value("v4"))
	if want := (causal.Set{{Node: 1, Discard: 11, Dots: []causal.Dot{}}, {Node: 2, Discard: 10, Dots: []causal.Dot{{Time: 11, Value: value("v4")}}}}); !reflect.DeepEqual(simple, want) {
		t.Errorf("got %+v", simple)
	}
	s = s.Insert(node1, t1, 10, value("v5"))
	if got := texts(s); !slices.Equal(got, []string{"v2", "v3", "v5"}) {
		t.Errorf("after v5: %v", got)
	}
	s = s.Insert(node2, read, 10, value("v4"))
	if got := texts(s); !slices.Equal(got, []string{"v4", "v5"}) {
		t.Errorf("after v4: %v", got)
	}
}

func TestEqualValuesAreOne(t *testing.T) {
	var s causal.Set
	s = s.Insert(1, nil, 5, value("a"))
	first := s.Context()
	s = s.Insert(1, nil, 5, value("a"))
	if s.Dots() != 1 || !slices.Equal(texts(s), []string{"a"}) {
		t.Errorf("%+v", s)
	}
	// Who saw the first a did not see the second, which therefore stays.
	if got := texts(s.Insert(1, first, 5, value("b"))); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("got %v", got)
	}
	s = s.Insert(2, nil, 1, value("a")).Insert(2, nil, 1, causal.Value{Deleted: true}).Insert(2, nil, 1, value(""))
	if got := texts(s); !slices.Equal(got, []string{"", "-", "a"}) {
		t.Errorf("got %q", got)
	}
}

func TestTimesAreNeverUsedAgain(t *testing.T) {
	var s causal.Set
	s = s.Insert(1, causal.Context{{1, 1000}}, 5, value("a"))
	if got := s[0].Dots[0].Time; got != 1001 {
		t.Errorf("time %d is not above what the writer had seen", got)
	}
	if got := s.Insert(1, nil, 2000, value("b")).Context(); got[0].Time != 2000 {
		t.Errorf("time %v is below the clock", got)
	}
}

func TestWithin(t *testing.T) {
	item := causal.Context{{1, 10}, {5, 7}}
	for _, c := range []struct{ in, want causal.Context }{
		{nil, nil}, {causal.Context{{1, 4}}, causal.Context{{1, 4}}},
		{causal.Context{{1, causal.MaxTime}, {2, 3}, {5, 8}}, causal.Context{{1, 10}, {5, 7}}},
	} {
		if got := c.in.Within(item); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%v: got %v, want %v", c.in, got, c.want)
		}
	}
}

// randomSets are three states that replicas of one item may have.
func randomSets(r *rand.Rand) (sets [3]causal.Set) {
	var contexts []causal.Context
	for n := range 12 {
		i := r.IntN(3)
		var c causal.Context
		if len(contexts) > 0 && r.IntN(2) == 0 {
			c = contexts[r.IntN(len(contexts))]
		}
		sets[i] = sets[i].Insert(causal.Node(i+1), c, uint64(r.IntN(5)), value(fmt.Sprint(n)))
		contexts = append(contexts, sets[i].Context())
		if r.IntN(4) == 0 {
			sets[i] = causal.Merge(sets[i], sets[r.IntN(3)])
		}
	}
	return sets
}

func same(a, b causal.Set) bool { return fmt.Sprintf("%v", a) == fmt.Sprintf("%v", b) }

func TestMergeIsALattice(t *testing.T) {
	for seed := range uint64(2000) {
		s := randomSets(rand.New(rand.NewPCG(seed, 1)))
		a, b, c := s[0], s[1], s[2]
		ab := causal.Merge(a, b)
		switch {
		case !same(ab, causal.Merge(b, a)):
			t.Fatalf("seed %d: not commutative", seed)
		case !same(causal.Merge(ab, c), causal.Merge(a, causal.Merge(b, c))):
			t.Fatalf("seed %d: not associative", seed)
		case !same(causal.Merge(a, a), a), !same(causal.Merge(ab, a), ab):
			t.Fatalf("seed %d: not idempotent", seed)
		case a.Context().NewerThan(ab.Context()):
			t.Fatalf("seed %d: a merge forgot something", seed)
		}
	}
}

// write is an event of the model: its past are the writes that its writer had
// seen, themselves or by what superseded them.
type write struct {
	text string
	past map[int]bool
}

// replica is a set beside what it must stand for.
type replica struct {
	node  causal.Node
	set   causal.Set
	known map[int]bool
}

func (r replica) copy() replica {
	known := map[int]bool{}
	for k := range r.known {
		known[k] = true
	}
	return replica{r.node, r.set, known}
}

// want are the writes that r knows and nobody whose write it knows had seen.
func (r replica) want(all []write) (texts []string) {
	for i := range r.known {
		covered := false
		for j := range r.known {
			covered = covered || all[j].past[i]
		}
		if !covered {
			texts = append(texts, all[i].text)
		}
	}
	slices.Sort(texts)
	return texts
}

type reading struct {
	context causal.Context
	past    map[int]bool
}

// TestNoValueIsLost drives replicas that insert, merge, crash and are cut off,
// and holds each of them against a model that knows no numbers: a value is gone
// only where a write is known whose writer had seen it.
func TestNoValueIsLost(t *testing.T) {
	for seed := range uint64(400) {
		r := rand.New(rand.NewPCG(seed, 2))
		var all []write
		replicas, saved := make([]replica, 4), make([]replica, 4)
		cut := make([]bool, 4)
		next := causal.Node(1)
		for i := range replicas {
			replicas[i] = replica{node: next, known: map[int]bool{}}
			saved[i] = replicas[i].copy()
			next++
		}
		var readings []reading
		for step := range 120 {
			i, j := r.IntN(4), r.IntN(4)
			at := &replicas[i]
			switch r.IntN(8) {
			case 0, 1, 2: // a client writes, having read something or nothing
				from := reading{past: map[int]bool{}}
				if len(readings) > 0 && r.IntN(4) > 0 {
					from = readings[r.IntN(len(readings))]
				}
				all = append(all, write{fmt.Sprint("v", len(all)), from.past})
				at.set = at.set.Insert(at.node, from.context, uint64(r.IntN(step+1)), value(all[len(all)-1].text))
				at.known[len(all)-1] = true
			case 3: // a client reads
				past := at.copy().known
				for k := range at.known {
					for p := range all[k].past {
						past[p] = true
					}
				}
				readings = append(readings, reading{at.set.Context(), past})
			case 4, 5: // one hears of another
				if cut[i] || cut[j] {
					break
				}
				at.set = causal.Merge(at.set, replicas[j].set)
				for k := range replicas[j].known {
					at.known[k] = true
				}
			case 6: // one is cut off, or comes back; or has synced
				if cut[i] = !cut[i]; !cut[i] {
					saved[i] = at.copy()
				}
			case 7: // one crashes back to what it had synced, and is another node then
				*at = saved[i].copy()
				at.node = next
				next++
			}
			if got, want := texts(at.set), at.want(all); !slices.Equal(got, want) {
				t.Fatalf("seed %d, step %d, replica %d: has %v, want %v", seed, step, i, got, want)
			}
		}
		whole := replica{known: map[int]bool{}}
		for _, one := range replicas {
			whole.set = causal.Merge(whole.set, one.set)
			for k := range one.known {
				whole.known[k] = true
			}
		}
		if got, want := texts(whole.set), whole.want(all); !slices.Equal(got, want) {
			t.Fatalf("seed %d: together they have %v, want %v", seed, got, want)
		}
	}
}

func TestTokens(t *testing.T) {
	c := causal.Context{{4, 42}, {1928131023, 76}, {0xefc0c1c47f9de433, 2}}
	const token = "78DBxA1xFZwAAAAAAAAABAAAAAAAAAAqAAAAAHLs8c8AAAAAAAAATO_AwcR_neQzAAAAAAAAAAI"
	if got := c.Token(); got != token {
		t.Errorf("token %s", got)
	}
	got, err := causal.ParseToken(token)
	if err != nil || !reflect.DeepEqual(got, c) {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := causal.ParseToken("AAAAAAAAAAA"); err != nil || len(got) != 0 {
		t.Errorf("the empty context: %v, %v", got, err)
	}
	over := causal.Context{{1, causal.MaxTime + 1}}.Token()
	twice := causal.Context{{1, 1}, {1, 1}}.Token()
	for _, bad := range []string{
		"", "tra$sh", "AAAA", token[:len(token)-1], token + "=", "\n" + token, token[:10] + "\n" + token[10:],
		"88" + token[2:], over, twice,
		strings.ReplaceAll(token, "_", "/"), strings.Repeat("A", 1<<20), token[:len(token)-1] + "J",
	} {
		if c, err := causal.ParseToken(bad); err != causal.ErrToken { //nolint:errorlint // bare
			t.Errorf("%.40q: %v, %v", bad, c, err)
		}
	}
}

func FuzzParseToken(f *testing.F) {
	f.Add("AAAAAAAAAAA")
	f.Add(causal.Context{{1, 2}, {3, 4}}.Token())
	f.Fuzz(func(t *testing.T, token string) {
		c, err := causal.ParseToken(token)
		if err != nil {
			return
		}
		if c.Token() != token {
			t.Errorf("%q and %q mean the same", token, c.Token())
		}
		s := causal.Set{}.Insert(1, c, 0, value("x"))
		if !s.Context().NewerThan(c) {
			t.Errorf("%q covers what was written after it", token)
		}
	})
}
