package register

// RingSize is how many superseded operations a row remembers.
const RingSize = 8

// Value is what a row holds; all of it is opaque to the protocol. A nil *Value
// is a delete marker. Values are immutable once handed over.
type Value struct {
	// Head is the small part that listings return.
	Head []byte
	// Body is the rest. A replica that reads only the head leaves it nil and
	// says so in Reply.BodyOmitted.
	Body []byte
	// Count and Bytes are what the row adds to its bucket's counters.
	Count, Bytes int64
}

// Row is a value with the tag it is held under and the operation that wrote it.
type Row struct {
	Tag, Op Tag
	Value   *Value
}

// Accepted is an operation that a replica once held, and the tag it held it under.
type Accepted struct{ Op, Tag Tag }

// State is what a replica durably keeps per row. The zero State is a row
// nobody ever touched.
type State struct {
	Row
	Promised Tag
	// Ring holds the last RingSize superseded operations, ascending by Op.
	Ring []Accepted
	// Floor is the highest Op ever evicted from Ring.
	Floor Tag
}

// Kind is what a Request asks for. Numbers are wire format.
type Kind uint8

// The kinds of request.
const (
	Read    Kind = 1
	Prepare Kind = 2
	Apply   Kind = 3
	Forget  Kind = 4
)

// Request is one message of a coordinator to the replicas of a row. Epochs and
// admission are checked before it reaches Handle.
type Request struct {
	Kind  Kind
	Epoch uint64
	// Admitted is the revision of the control state by which whoever asks was
	// let in; 0 for what needs no admission.
	Admitted uint64
	// Ballot of a Prepare.
	Ballot Tag
	// AskOp of a Prepare: the operation whose fate is asked, or zero.
	AskOp Tag
	// Row of an Apply. For Forget, Row.Tag is the delete marker's tag.
	Row Row
	// Low of a Forget: at least every promise the members gave.
	Low Tag
	// OmitBody asks for the row without its body (Read and Prepare).
	OmitBody bool
}

// Code is the meaning of a Reply. Numbers are wire format.
type Code uint8

// The codes.
const (
	// Held answers a Read.
	Held Code = 1
	// Promised answers a Prepare: nothing below Ballot will be accepted.
	Promised Code = 2
	// Done answers an Apply or Forget that is durable.
	Done Code = 3
	// Refused answers a Prepare, Apply or Forget that comes too late.
	Refused Code = 4
	// Old answers any request of an epoch that the replica has left.
	Old Code = 5
	// Behind answers any request that was let in by control state older than
	// the replica's; it did nothing. Coordinators are not told: see Fail.
	Behind Code = 6
)

// Reply is a replica's answer.
type Reply struct {
	Code Code
	// Epoch is the replica's, for Old.
	Epoch uint64
	// Revision is what a request must be admitted by at least, for Behind.
	Revision uint64
	// Row is what the replica holds, for Held and Promised.
	Row Row
	// BodyOmitted says that Row.Value.Body was left out.
	BodyOmitted bool
	// Promise is the highest promise in force, for Held.
	Promise Tag
	// High is the highest tag that stands in the way, for Refused.
	High Tag
	// Seen says that AskOp may once have been accepted here; SeenAt is the
	// tag it surely was accepted under, if known.
	Seen   bool
	SeenAt Tag
	// Replaced is the head of the live value that an Apply of a different
	// operation replaced. A hint for clean-up, not part of the protocol.
	Replaced []byte
}

// Change says what of a State a request changed.
type Change uint8

// The changes, from nothing to everything.
const (
	// Unchanged: nothing to write.
	Unchanged Change = iota
	// Promise only: the value stays.
	PromiseOnly
	// Replaced: the row holds another value or tag.
	RowReplaced
	// Forgotten: the row is to be dropped and the partition's low mark raised
	// to the Low that Handle returned, in one transaction.
	Forgotten
)

// Handle applies one request to a row. It changes st in place and says what to
// make durable before the reply leaves. low is the partition's low mark; the
// returned tag is its new value. Handle is the whole of the replica's protocol
// besides epochs: it must run atomically per row.
func Handle(st *State, low Tag, q Request) (Reply, Change, Tag) {
	bar := st.Promised.Max(low)
	switch q.Kind {
	case Read:
		return Reply{Code: Held, Row: st.Row, Promise: bar}, Unchanged, low
	case Prepare:
		if q.Ballot.Less(bar) || q.Ballot.Compare(st.Tag) <= 0 {
			return Reply{Code: Refused, High: bar.Max(st.Tag)}, Unchanged, low
		}
		r := Reply{Code: Promised, Row: st.Row}
		r.Seen, r.SeenAt = st.seen(q.AskOp, low)
		if st.Promised == q.Ballot {
			return r, Unchanged, low // a duplicate
		}
		st.Promised = q.Ballot
		return r, PromiseOnly, low
	case Apply:
		if q.Row.Tag == st.Tag {
			return Reply{Code: Done}, Unchanged, low // a duplicate
		}
		if lifted&rulePromise != 0 {
			bar = low
		}
		if q.Row.Tag.Less(bar) || q.Row.Tag.Less(st.Tag) {
			return Reply{Code: Refused, High: bar.Max(st.Tag)}, Unchanged, low
		}
		r := Reply{Code: Done}
		if st.Op != q.Row.Op {
			st.remember(st.Op, st.Tag)
			if st.Value != nil {
				r.Replaced = st.Value.Head
			}
		}
		st.Row = q.Row
		return r, RowReplaced, low
	case Forget:
		if st.Tag != q.Row.Tag || st.Value != nil || q.Low.Less(st.Promised) {
			return Reply{Code: Refused, High: bar.Max(st.Tag)}, Unchanged, low
		}
		low = low.Max(q.Low).Max(q.Row.Tag)
		*st = State{}
		return Reply{Code: Done}, Forgotten, low
	}
	return Reply{Code: Refused}, Unchanged, low
}

// seen reports whether op may ever have been accepted here. What is no longer
// known counts as seen.
func (st *State) seen(op, low Tag) (bool, Tag) {
	if op.IsZero() {
		return false, Tag{}
	}
	if st.Op == op {
		return true, st.Tag
	}
	for _, a := range st.Ring {
		if a.Op == op {
			return true, a.Tag
		}
	}
	return op.Compare(st.Floor) <= 0 || op.Compare(low) <= 0, Tag{}
}

// remember pushes a superseded operation into the ring.
func (st *State) remember(op, tag Tag) {
	if op.IsZero() {
		return
	}
	ring := make([]Accepted, 0, len(st.Ring)+1)
	placed := false
	for _, a := range st.Ring {
		switch {
		case a.Op == op:
			ring = append(ring, Accepted{op, a.Tag.Max(tag)})
			placed = true
			continue
		case !placed && op.Less(a.Op):
			ring = append(ring, Accepted{op, tag})
			placed = true
		}
		ring = append(ring, a)
	}
	if !placed {
		ring = append(ring, Accepted{op, tag})
	}
	if len(ring) > RingSize {
		st.Floor = st.Floor.Max(ring[0].Op)
		ring = ring[1:]
	}
	st.Ring = ring
}
