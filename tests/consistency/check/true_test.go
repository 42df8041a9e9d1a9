package check

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// store is K2V in the simplest form: every write there ever was, and which of
// them a token saw.
type store struct {
	writes []string        // of one item; deletions begin with "-"
	gone   map[string]bool // superseded
	tokens []int           // how many writes a token saw, by token
}

func (s *store) write(name string, token int) {
	if token > 0 {
		for _, w := range s.writes[:s.tokens[token-1]] {
			s.gone[w] = true
		}
	}
	s.writes = append(s.writes, name)
}

func (s *store) read() (values []string, token int) {
	var live []string
	for _, w := range s.writes {
		if !s.gone[w] {
			live = append(live, w)
		}
	}
	for i, n := range s.tokens {
		if n == len(s.writes) {
			return show(live), i + 1
		}
	}
	s.tokens = append(s.tokens, len(s.writes))
	return show(live), len(s.tokens)
}

// TestItemsTakeTheTruth: a history as long as one item gets, of clients that
// overlap and some of whom never hear what came of their writes, is taken, in
// time.
func TestItemsTakeTheTruth(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 1))
		s := &store{gone: map[string]bool{}}
		known := make([]int, 8) // the token a client has, by client
		free := make([]time.Duration, len(known))
		var history []Op
		open := 0
		for i := range 300 {
			now := time.Duration(i) * time.Millisecond
			c := rng.IntN(len(known))
			for free[c] > now {
				c = rng.IntN(len(known))
			}
			// It takes effect now, and was asked and is answered around that.
			o := Op{Client: c, Key: "k", Verdict: Done, Call: now - time.Duration(rng.IntN(3e6)), Return: now + time.Duration(rng.IntN(6e6))}
			o.Call = max(o.Call, free[c])
			free[c] = o.Return + 1
			token := func(n int) string { return map[bool]string{true: "", false: fmt.Sprint("t", n)}[n == 0] }
			switch kind := rng.IntN(10); {
			case kind < 3 || kind < 4 && known[c] > 0:
				o.Verb, o.Value, o.Given = Insert, fmt.Sprint("v", i), token(known[c])
				name := o.Value
				if kind == 3 {
					o.Verb, name = Remove, "-"+name
				}
				if s.write(name, known[c]); open < 8 && rng.IntN(10) == 0 {
					o.Verdict = Maybe
					open++
				}
			default:
				values, n := s.read()
				if o.Verb, o.Values, o.Token = Fetch, values, token(n); len(values) == 0 {
					o.Token = ""
					break
				}
				known[c] = n
			}
			history = append(history, o)
		}
		r, err := Items(history, time.Minute, t.TempDir())
		if err != nil || !r.OK() || r.Checked != len(history) {
			t.Errorf("seed %d: %+v, %v", seed, r, err)
		}
	}
}
