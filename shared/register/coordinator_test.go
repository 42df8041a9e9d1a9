package register

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"
)

var three = Config{Epoch: 1, Members: 3, Sets: []Set{0b111}}

func testClock() *Clock { return NewClock(1, func() time.Time { return time.UnixMicro(1000) }) }

func at(n int64) Tag { return Tag{Time: n, Node: 9} }

func held(n int64, text string) *Reply {
	r := &Reply{Code: Held, Row: Row{Tag: at(n), Op: at(n), Value: newValue(text)}}
	return r
}

func promised(r Row, seen bool) *Reply { return &Reply{Code: Promised, Row: r, Seen: seen} }

func want(t *testing.T, e Effect, do Action) Effect {
	t.Helper()
	if e.Do != do {
		t.Fatalf("the coordinator wants %d, expected %d", e.Do, do)
	}
	return e
}

func wantEnd(t *testing.T, c *Coordinator, e Effect, s Status) {
	t.Helper()
	want(t, e, Finish)
	if got := c.Result(); got.Status != s {
		t.Fatalf("ended %d, expected %d: %+v", got.Status, s, got)
	}
}

func TestNoLayout(t *testing.T) {
	c := NewGet(testClock(), DefaultTiming())
	e := want(t, c.Start(Config{}), Pause)
	if e.Epoch != 1 {
		t.Fatalf("waits for epoch %d", e.Epoch)
	}
	want(t, c.Resume(three), Send)
	wantEnd(t, c, c.Expire(), Unavailable)
}

func TestAnswersThatDoNotCount(t *testing.T) {
	c := NewPut(testClock(), DefaultTiming(), nil)
	e := want(t, c.Start(three), Send)
	done := &Reply{Code: Done}
	want(t, c.Answer(e.Round, 0, done), Wait)
	want(t, c.Answer(e.Round, 0, done), Wait)   // twice
	want(t, c.Answer(e.Round+1, 1, done), Wait) // of another round
	want(t, c.Answer(e.Round, 3, done), Wait)   // of no member
	wantEnd(t, c, c.Answer(e.Round, 2, done), OK)
	wantEnd(t, c, c.Expire(), OK) // too late to matter
}

func TestOldWaitsForTheLayout(t *testing.T) {
	c := NewGet(testClock(), DefaultTiming())
	e := want(t, c.Start(three), Send)
	want(t, c.Answer(e.Round, 0, &Reply{Code: Old, Epoch: 3}), Wait)
	e = want(t, c.Answer(e.Round, 1, &Reply{Code: Old, Epoch: 2}), Pause)
	if e.Epoch != 3 {
		t.Fatalf("waits for epoch %d, expected 3", e.Epoch)
	}
}

// A body is fetched from one member, and from another when that one is late
// or behind.
func TestBodies(t *testing.T) {
	short := held(5, "five")
	short.Row.Value, short.BodyOmitted = &Value{Head: []byte("five")}, true
	t.Run("near is late", func(t *testing.T) {
		c := NewGet(testClock(), DefaultTiming())
		e := want(t, c.Start(three), Send)
		want(t, c.Answer(e.Round, 1, short), Wait)
		w := want(t, c.Answer(e.Round, 2, short), Wait)
		if w.Within != DefaultTiming().Straggler {
			t.Fatalf("waits %v for the near member", w.Within)
		}
		e = want(t, c.Timeout(e.Round), Send)
		if e.BodyFrom != 1 || e.Request.Kind != Read {
			t.Fatalf("asks %d", e.BodyFrom)
		}
		want(t, c.Answer(e.Round, 2, short), Wait)
		wantEnd(t, c, c.Answer(e.Round, 1, held(5, "five")), OK)
	})
	t.Run("near is behind", func(t *testing.T) {
		c := NewGet(testClock(), DefaultTiming())
		e := want(t, c.Start(three), Send)
		want(t, c.Answer(e.Round, 0, held(4, "four")), Wait)
		want(t, c.Answer(e.Round, 1, short), Wait)
		e = want(t, c.Answer(e.Round, 2, short), Send)
		if e.BodyFrom != 1 {
			t.Fatalf("asks %d", e.BodyFrom)
		}
	})
}

// What members surely did not do leaves an operation undone; whether it is
// tried again depends on why they did not.
func TestFailures(t *testing.T) {
	for _, test := range []struct {
		why  [3]Failure
		do   Action
		then Status // at once, or when time is up
	}{
		{[3]Failure{Refusing, Refusing, Refusing}, Finish, Rejected},
		{[3]Failure{Refusing, Absent, Refusing}, Finish, Rejected},
		{[3]Failure{Absent, Absent, Absent}, Pause, Unavailable},
		{[3]Failure{Absent, Silent, Absent}, Pause, Indeterminate},
		{[3]Failure{Refusing, Refusing, Silent}, Finish, Indeterminate},
	} {
		c := NewPut(testClock(), DefaultTiming(), nil)
		e := c.Start(three)
		round := e.Round
		for i, why := range test.why {
			if e.Do == Send || e.Do == Wait {
				e = c.Fail(round, i, why)
			}
		}
		want(t, e, test.do)
		wantEnd(t, c, c.Expire(), test.then)
	}
}

// An operation that a majority has seen and that lost can never be proved
// dead: no answer is waited for. One that a majority never saw goes on.
func TestFate(t *testing.T) {
	other := Row{Tag: at(3000), Op: at(3000)}
	lose := func() (*Coordinator, Effect) {
		c := NewPut(testClock(), DefaultTiming(), nil)
		e := c.Start(three)
		c.Answer(e.Round, 0, &Reply{Code: Refused, High: at(2000)})
		want(t, c.Answer(e.Round, 1, &Reply{Code: Refused, High: at(2000)}), Pause)
		e = want(t, c.Resume(three), Send)
		if e.Request.Kind != Prepare || !at(2000).Less(e.Request.Ballot) || e.Request.AskOp.IsZero() {
			t.Fatalf("sends %+v", e.Request)
		}
		return c, e
	}
	c, e := lose()
	want(t, c.Answer(e.Round, 0, promised(other, true)), Wait)
	wantEnd(t, c, c.Answer(e.Round, 1, promised(other, true)), Indeterminate)

	c, e = lose()
	want(t, c.Answer(e.Round, 0, promised(other, false)), Wait)
	e = want(t, c.Answer(e.Round, 1, promised(other, false)), Send)
	if e.Request.Kind != Apply || e.Request.Row.Tag.Seq != 1 {
		t.Fatalf("sends %+v", e.Request)
	}

	c, e = lose()
	want(t, c.Answer(e.Round, 0, promised(other, true)), Wait)
	want(t, c.Answer(e.Round, 1, promised(other, false)), Wait)
	want(t, c.Answer(e.Round, 2, promised(other, false)), Send)
}

// The same base gets the same value however often it is built upon, for an
// earlier attempt may yet be carried on by others; another base is decided anew.
func TestDecidesOncePerBase(t *testing.T) {
	calls := 0
	c := NewUpdate(testClock(), DefaultTiming(), func(Row) (*Value, error) {
		calls++
		if calls == 2 {
			return nil, errors.New("enough")
		}
		return newValue("mine"), nil
	})
	base := Row{Tag: at(500), Op: at(500), Value: newValue("base")}
	ballot := func(e Effect) Effect {
		t.Helper()
		want(t, c.Answer(e.Round, 0, promised(base, false)), Wait)
		return c.Answer(e.Round, 1, promised(base, false))
	}
	refuse := func(e Effect) Effect {
		t.Helper()
		want(t, c.Answer(e.Round, 0, &Reply{Code: Refused, High: at(5000)}), Wait)
		want(t, c.Answer(e.Round, 1, &Reply{Code: Refused, High: at(5000)}), Pause)
		return want(t, c.Resume(three), Send)
	}
	e := refuse(want(t, ballot(want(t, c.Start(three), Send)), Send))
	e = refuse(want(t, ballot(e), Send))
	if calls != 1 {
		t.Fatalf("decided %d times on one base", calls)
	}
	base = Row{Tag: at(5500), Op: at(5500), Value: newValue("another")}
	wantEnd(t, c, ballot(e), Declined)
}

func TestClock(t *testing.T) {
	now := time.UnixMicro(1000)
	c := NewClock(7, func() time.Time { return now })
	last := c.Next(Tag{})
	if last != (Tag{Time: 1000, Node: 7}) {
		t.Fatalf("first tag %v", last)
	}
	for i, above := range []Tag{{}, {Time: 5000, Node: 9, Seq: 1}, {Time: 5}} {
		next := c.Next(above)
		if !last.Less(next) || !above.Less(next) {
			t.Fatalf("%d: %v is not above %v and %v", i, next, last, above)
		}
		last = next
		now = now.Add(-time.Hour)
	}
	c.See(at(9000))
	if next := c.Next(Tag{}); !at(9000).Less(next) {
		t.Fatalf("%v is not above a tag that was seen", next)
	}
}

// quorum and dead against their definitions, member by member.
func TestQuorums(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		c := Config{Members: 8}
		for range 1 + rng.IntN(2) {
			c.Sets = append(c.Sets, Set(1+rng.IntN(255)))
		}
		who := Set(rng.IntN(256))
		quorum, dead := true, true
		for _, s := range c.Sets {
			n, in := 0, 0
			for i := range 8 {
				if s.Has(i) {
					n++
					if who.Has(i) {
						in++
					}
				}
			}
			majority := n/2 + 1
			quorum = quorum && in >= majority
			dead = dead && in >= n-majority+1
		}
		if c.quorum(who) != quorum || c.dead(who) != dead || c.blocked(who) == c.quorum(^who) {
			t.Fatalf("sets %b, who %b: quorum %v, dead %v", c.Sets, who, c.quorum(who), c.dead(who))
		}
	}
	if (&Config{}).quorum(^Set(0)) || (&Config{}).dead(^Set(0)) {
		t.Fatal("no sets make a quorum")
	}
}
