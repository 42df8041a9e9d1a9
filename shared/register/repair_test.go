package register

import "testing"

func refused(n int64) *Reply { return &Reply{Code: Refused, High: at(n)} }

// A repair hears all members before it judges, and carries the row under its
// own tag to those that lack it.
func TestRepairCarries(t *testing.T) {
	c := NewRepair(testClock(), DefaultTiming())
	e := want(t, c.Start(three), Send)
	round := e.Round
	want(t, c.Answer(round, 0, held(5, "five")), Wait)
	if e = want(t, c.Answer(round, 1, held(5, "five")), Wait); e.Within == 0 {
		t.Fatal("waits for the last member without a bound")
	}
	e = want(t, c.Answer(round, 2, held(4, "four")), Send)
	if e.Request.Kind != Apply || e.Request.Row.Tag != at(5) || e.Request.Row.Op != at(5) || string(e.Request.Row.Value.Body) != "body of five" {
		t.Fatalf("carries %+v", e.Request)
	}
	round = e.Round
	want(t, c.Answer(round, 0, &Reply{Code: Done}), Wait)
	want(t, c.Answer(round, 1, &Reply{Code: Done}), Wait)
	wantEnd(t, c, c.Answer(round, 2, &Reply{Code: Done}), OK)
	if r := c.Result(); r.Holders != 0b111 || !r.Carried || r.Row.Tag != at(5) {
		t.Fatalf("%+v", r)
	}
}

// Where all who answer agree there is nothing to do, however many are silent
// beyond a quorum.
func TestRepairOfWhatIsWell(t *testing.T) {
	c := NewRepair(testClock(), DefaultTiming())
	e := want(t, c.Start(three), Send)
	want(t, c.Answer(e.Round, 0, held(5, "five")), Wait)
	want(t, c.Answer(e.Round, 1, held(5, "five")), Wait)
	wantEnd(t, c, c.Timeout(e.Round), OK)
	if r := c.Result(); r.Holders != 0b011 || r.Carried {
		t.Fatalf("%+v", r)
	}
}

// A member whose promise stands in the way gets the row at a ballot, although
// a quorum holds it.
func TestRepairAtABallot(t *testing.T) {
	c := NewRepair(testClock(), DefaultTiming())
	e := want(t, c.Start(three), Send)
	want(t, c.Answer(e.Round, 0, held(5, "five")), Wait)
	want(t, c.Answer(e.Round, 1, held(5, "five")), Wait)
	e = want(t, c.Answer(e.Round, 2, &Reply{Code: Held, Promise: at(9)}), Send)
	want(t, c.Answer(e.Round, 0, &Reply{Code: Done}), Wait)
	want(t, c.Answer(e.Round, 1, &Reply{Code: Done}), Wait)
	want(t, c.Answer(e.Round, 2, refused(9)), Pause)
	e = want(t, c.Resume(three), Send)
	if e.Request.Kind != Prepare || !at(9).Less(e.Request.Ballot) {
		t.Fatalf("sends %+v", e.Request)
	}
	ballot := e.Request.Ballot
	five := held(5, "five").Row
	want(t, c.Answer(e.Round, 0, promised(five, false)), Wait)
	want(t, c.Answer(e.Round, 1, promised(five, false)), Wait)
	e = want(t, c.Answer(e.Round, 2, promised(Row{}, false)), Send)
	if q := e.Request; q.Kind != Apply || q.Row.Tag != ballot || q.Row.Op != at(5) {
		t.Fatalf("sends %+v", e.Request)
	}
	for i := range 2 {
		want(t, c.Answer(e.Round, i, &Reply{Code: Done}), Wait)
	}
	wantEnd(t, c, c.Answer(e.Round, 2, &Reply{Code: Done}), OK)
	if r := c.Result(); r.Holders != 0b111 || r.Row.Tag != ballot {
		t.Fatalf("%+v", r)
	}
}

// A repair for some members waits for no others, and names those it knows of.
func TestRepairOfTheWanted(t *testing.T) {
	cfg := three
	cfg.Wanted = 0b101
	c := NewRepair(testClock(), DefaultTiming())
	e := want(t, c.Start(cfg), Send)
	want(t, c.Answer(e.Round, 0, held(5, "five")), Wait)
	e = want(t, c.Answer(e.Round, 2, held(4, "four")), Send)
	if e.Request.Kind != Apply || e.Request.Row.Tag != at(5) {
		t.Fatalf("sends %+v", e.Request)
	}
	want(t, c.Answer(e.Round, 0, &Reply{Code: Done}), Wait)
	want(t, c.Answer(e.Round, 1, &Reply{Code: Done}), Wait) // a quorum, but not for whom it is
	wantEnd(t, c, c.Answer(e.Round, 2, &Reply{Code: Done}), OK)
	if r := c.Result(); r.Holders != 0b111 || !r.Carried {
		t.Fatalf("%+v", r)
	}

	c = NewRepair(testClock(), DefaultTiming())
	e = want(t, c.Start(cfg), Send)
	want(t, c.Answer(e.Round, 0, held(5, "five")), Wait)
	want(t, c.Answer(e.Round, 1, held(5, "five")), Wait)
	wantEnd(t, c, c.Timeout(e.Round), OK)
	if r := c.Result(); r.Holders != 0b011 {
		t.Fatalf("%+v: a silent member counts", r)
	}
}

// With WriteOne a repair, a copy and a conditional write's base still take a
// quorum; a blind write that is carried to a ballot does with one.
func TestWriteOneIsForBlindWrites(t *testing.T) {
	loose := three
	loose.WriteOne = true

	c := NewRepair(testClock(), DefaultTiming())
	e := want(t, c.Start(loose), Send)
	want(t, c.Answer(e.Round, 0, held(5, "five")), Wait)
	want(t, c.Answer(e.Round, 1, held(4, "four")), Wait)
	e = want(t, c.Answer(e.Round, 2, held(4, "four")), Send)
	want(t, c.Answer(e.Round, 0, &Reply{Code: Done}), Wait)
	want(t, c.Timeout(e.Round), Pause)

	five := held(5, "five").Row
	for name, c := range map[string]*Coordinator{
		"copy":              NewRecommit(testClock(), DefaultTiming()),
		"conditional write": NewUpdate(testClock(), DefaultTiming(), func(Row) (*Value, error) { return newValue("x"), nil }),
	} {
		e := want(t, c.Start(loose), Send)
		want(t, c.Answer(e.Round, 0, promised(five, false)), Wait)
		want(t, c.Answer(e.Round, 1, promised(Row{}, false)), Wait)
		e = want(t, c.Answer(e.Round, 2, promised(Row{}, false)), Send)
		if e.Request.Kind != Apply || e.Request.Row.Op != at(5) {
			t.Fatalf("%s: sends %+v", name, e.Request)
		}
		want(t, c.Answer(e.Round, 0, &Reply{Code: Done}), Wait)
		want(t, c.Timeout(e.Round), Pause)
	}

	c = NewPut(testClock(), DefaultTiming(), newValue("x"))
	e = want(t, c.Start(loose), Send)
	mine := e.Request.Row
	want(t, c.Timeout(e.Round), Pause)
	e = want(t, c.Resume(loose), Send)
	want(t, c.Answer(e.Round, 0, promised(Row{}, false)), Wait)
	e = want(t, c.Answer(e.Round, 1, promised(mine, true)), Send)
	if e.Request.Kind != Apply || e.Request.Row.Op != mine.Op {
		t.Fatalf("sends %+v", e.Request)
	}
	wantEnd(t, c, c.Answer(e.Round, 2, &Reply{Code: Done}), OK)
}

func TestReadOne(t *testing.T) {
	loose := three
	loose.ReadOne = true
	short := held(7, "seven")
	short.Row.Value, short.BodyOmitted = &Value{Head: []byte("seven")}, true
	t.Run("the near member is enough", func(t *testing.T) {
		c := NewGet(testClock(), DefaultTiming())
		e := want(t, c.Start(loose), Send)
		wantEnd(t, c, c.Answer(e.Round, 0, held(5, "five")), OK)
	})
	t.Run("another when the near one fails, without a write-back", func(t *testing.T) {
		c := NewGet(testClock(), DefaultTiming())
		e := want(t, c.Start(loose), Send)
		want(t, c.Fail(e.Round, 0, Absent), Wait)
		e = want(t, c.Answer(e.Round, 2, short), Send)
		if e.Request.Kind != Read || e.BodyFrom != 2 {
			t.Fatalf("sends %+v", e)
		}
		wantEnd(t, c, c.Answer(e.Round, 2, held(7, "seven")), OK)
	})
	t.Run("never a ballot", func(t *testing.T) {
		c := NewGet(testClock(), DefaultTiming())
		e := want(t, c.Start(loose), Send)
		want(t, c.Fail(e.Round, 0, Silent), Wait)
		want(t, c.Fail(e.Round, 1, Silent), Wait)
		want(t, c.Timeout(e.Round), Pause)
		if e = want(t, c.Resume(loose), Send); e.Request.Kind != Read {
			t.Fatalf("sends %+v", e.Request)
		}
		wantEnd(t, c, c.Expire(), Unavailable)
	})
	t.Run("not of a member that a change is filling", func(t *testing.T) {
		joint := Config{Epoch: 2, Members: 4, Sets: []Set{0b0111, 0b1110}, Near: 3, ReadOne: true}
		c := NewGet(testClock(), DefaultTiming())
		e := want(t, c.Start(joint), Send)
		want(t, c.Answer(e.Round, 3, &Reply{Code: Held}), Wait)
		wantEnd(t, c, c.Answer(e.Round, 1, held(5, "five")), OK)
		if tag := c.Result().Row.Tag; tag != at(5) {
			t.Fatalf("read %v", tag)
		}
	})
}

// With WriteOne a blind write ends at one member of each set; a conditional
// one still waits for a quorum.
func TestWriteOne(t *testing.T) {
	joint := Config{Epoch: 2, Members: 4, Sets: []Set{0b0011, 0b1100}, WriteOne: true}
	c := NewPut(testClock(), DefaultTiming(), newValue("x"))
	e := want(t, c.Start(joint), Send)
	want(t, c.Answer(e.Round, 0, &Reply{Code: Done}), Wait)
	want(t, c.Fail(e.Round, 1, Silent), Wait)
	wantEnd(t, c, c.Answer(e.Round, 2, &Reply{Code: Done}), OK)

	dangerous := three
	dangerous.WriteOne = true
	c = NewUpdate(testClock(), DefaultTiming(), func(Row) (*Value, error) { return newValue("x"), nil })
	e = want(t, c.Start(dangerous), Send)
	for i := range 2 {
		next := c.Answer(e.Round, i, promised(Row{}, false))
		if i == 1 {
			e = want(t, next, Send)
		}
	}
	want(t, c.Answer(e.Round, 0, &Reply{Code: Done}), Wait)
	wantEnd(t, c, c.Answer(e.Round, 1, &Reply{Code: Done}), OK)
}
