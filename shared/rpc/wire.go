package rpc

import (
	"encoding/binary"
	"errors"
	"math"
	"sync"
	"time"

	"hangar/shared/fault"
	"hangar/shared/object"
)

// A request on the wire:
//
//	1 byte   version, 1
//	4 bytes  budget: milliseconds left until the caller's deadline
//	4 bytes  length of the head
//	         head, payload
//
// An answer:
//
//	1 byte   version, 1
//	1 byte   status: 0, or 1 + the kind of the fault
//	16 bytes id of the node that answers
//	4 bytes  length of the head
//	         head, payload; of a fault: message, cause
//
// Integers are big-endian. The budget is relative, not a time of day, so that
// clocks that differ cannot expire a request or keep a dead one alive; what the
// broker takes to deliver it is not counted.
const (
	wireVersion   = 1
	requestPrefix = 1 + 4 + 4
	answerPrefix  = 1 + 1 + 16 + 4
)

// MaxMessageBytes bounds head and payload together, in both directions: the
// largest block and its particulars. NATS must allow answerPrefix more.
const MaxMessageBytes = 8<<20 + 32<<10

var errMalformed = errors.New("rpc: malformed message")

func appendRequest(b []byte, budget time.Duration, m Message) []byte {
	// Rounded up: a budget that is not used up must not become none.
	ms := min((budget+time.Millisecond-1)/time.Millisecond, math.MaxUint32)
	b = append(b, wireVersion)
	b = binary.BigEndian.AppendUint32(b, uint32(max(ms, 0)))
	return appendMessage(b, m)
}

func parseRequest(b []byte) (budget time.Duration, m Message, err error) {
	if len(b) < requestPrefix || b[0] != wireVersion {
		return 0, Message{}, errMalformed
	}
	budget = time.Duration(binary.BigEndian.Uint32(b[1:])) * time.Millisecond
	m, err = parseMessage(b[5:])
	return budget, m, err
}

func appendAnswer(b []byte, a Answer) []byte {
	status, m := byte(0), a.Message
	if a.Err != nil {
		var msg, cause string
		status, msg, cause = describe(a.Err)
		m = Message{Head: []byte(msg), Payload: []byte(cause)}
	}
	b = append(b, wireVersion, status)
	b = append(b, a.From[:]...)
	return appendMessage(b, m)
}

func parseAnswer(b []byte) (a Answer, err error) {
	if len(b) < answerPrefix || b[0] != wireVersion {
		return Answer{}, errMalformed
	}
	a.From = object.NodeID(b[2:18])
	if a.Message, err = parseMessage(b[18:]); err != nil {
		return Answer{}, err
	}
	if b[1] != 0 {
		e := &fault.Error{Kind: fault.Kind(b[1] - 1), Msg: string(a.Head)}
		if len(a.Payload) > 0 {
			e.Err = errors.New(string(a.Payload))
		}
		a.Message, a.Err = Message{}, e
	}
	return a, nil
}

func appendMessage(b []byte, m Message) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(m.Head)))
	b = append(b, m.Head...)
	return append(b, m.Payload...)
}

// parseMessage splits b without copying. Empty parts become nil.
func parseMessage(b []byte) (m Message, err error) {
	n := binary.BigEndian.Uint32(b)
	b = b[4:]
	if uint64(n) > uint64(len(b)) {
		return Message{}, errMalformed
	}
	if n > 0 {
		// Capped: appending to the head must not overwrite the payload.
		m.Head = b[:n:n]
	}
	if len(b) > int(n) {
		m.Payload = b[n:]
	}
	return m, nil
}

// asFault gives a handler's error a kind. A bare context error means that the
// handler was stopped half way: what it did is not known.
func asFault(err error) *fault.Error {
	var e *fault.Error
	if errors.As(err, &e) {
		return e
	}
	kind := fault.KindOf(err)
	if kind == fault.Canceled || kind == fault.Unavailable {
		kind = fault.Indeterminate
	}
	return &fault.Error{Kind: kind, Err: err}
}

// describe is the wire form of err.
func describe(err error) (status byte, msg, cause string) {
	e := asFault(err)
	if e.Err != nil {
		cause = e.Err.Error()
	}
	const most = 4 << 10 // of a text that only people read
	return byte(e.Kind) + 1, e.Msg[:min(len(e.Msg), most)], cause[:min(len(cause), most)]
}

// Messages are put together in pooled buffers, small and large ones apart, so
// that few large messages do not make every buffer large.
var buffers [2]sync.Pool

const smallBuffer = 32 << 10

// withBuffer calls f with an empty buffer of capacity n that is f's until it
// returns.
func withBuffer(n int, f func(b []byte) error) error {
	pool := &buffers[0]
	if n > smallBuffer {
		pool = &buffers[1]
	}
	p, _ := pool.Get().(*[]byte)
	if p == nil || cap(*p) < n {
		b := make([]byte, 0, max(n, 1<<10))
		p = &b
	}
	err := f((*p)[:0])
	pool.Put(p)
	return err
}
