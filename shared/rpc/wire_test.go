package rpc

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"hangar/shared/fault"
	"hangar/shared/object"
)

func FuzzParseRequest(f *testing.F) {
	f.Add(appendRequest(nil, time.Second, Message{Head: []byte("head"), Payload: []byte("payload")}))
	f.Add(appendRequest(nil, -time.Second, Message{}))
	f.Add([]byte{1, 0, 0, 0, 1, 255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, b []byte) {
		budget, m, err := parseRequest(b)
		if err != nil {
			return
		}
		if again := appendRequest(nil, budget, m); !bytes.Equal(again, b) {
			t.Errorf("%x read as %v %v, written as %x", b, budget, m, again)
		}
	})
}

func FuzzParseAnswer(f *testing.F) {
	n := object.NodeID{1, 2, 3}
	f.Add(appendAnswer(nil, Answer{From: n, Message: Message{Head: []byte("head"), Payload: []byte("payload")}}))
	f.Add(appendAnswer(nil, Answer{From: n, Err: fault.Wrap(fault.Corrupt, errors.New("cause"), "message")}))
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := parseAnswer(b)
		if err != nil {
			return
		}
		if a.Err != nil && (a.Head != nil || a.Payload != nil) {
			t.Errorf("an error that carries a message: %v", a)
		}
		got, err := parseAnswer(appendAnswer(nil, a))
		if err != nil || got.From != a.From || (got.Err == nil) != (a.Err == nil) || !bytes.Equal(got.Payload, a.Payload) {
			t.Errorf("%v became %v, %v", a, got, err)
		}
	})
}

func TestBudgetIsRoundedUp(t *testing.T) {
	for _, c := range []struct{ sent, want time.Duration }{
		{0, 0}, {-time.Hour, 0}, {1, time.Millisecond},
		{time.Millisecond, time.Millisecond}, {1500 * time.Microsecond, 2 * time.Millisecond},
		{1 << 62, (1<<32 - 1) * time.Millisecond},
	} {
		got, _, err := parseRequest(appendRequest(nil, c.sent, Message{}))
		if err != nil || got != c.want {
			t.Errorf("%v arrived as %v, %v; want %v", c.sent, got, err, c.want)
		}
	}
}

func TestSpanName(t *testing.T) {
	for subject, want := range map[string]string{
		PartitionSubject("meta", "apply", 17):         "meta.apply",
		NodeSubject("blocks", "get", object.NodeID{}): "blocks.get",
		AnySubject("admin", "run"):                    "admin.run",
		ServiceSubject("control", "barrier"):          "control.barrier",
		"elsewhere":                                   "rpc",
	} {
		if got := spanName(subject); got != want {
			t.Errorf("%s: %s, want %s", subject, got, want)
		}
	}
}
