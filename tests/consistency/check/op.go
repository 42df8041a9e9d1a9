// Package check decides whether what clients of a cluster were told can be the
// truth. It is pure: histories in, verdicts out.
//
// Four kinds of history are known. Registers: operations on one key, which
// must be linearizable. Items: the same for items of K2V, which hold several
// values. Listings: what a listing must and must not contain. Contents: an object that is read is one that was written, whole; which
// version it was is again a register's business.
package check

import (
	"fmt"
	"time"
)

// Verb is what a client asks.
type Verb string

// The verbs of S3. All but List are about one key.
const (
	Get       Verb = "get"
	Put       Verb = "put"
	PutAbsent Verb = "put if absent"
	PutMatch  Verb = "put if match"
	Delete    Verb = "delete"
	DelMatch  Verb = "delete if match"
	List      Verb = "list"
)

// The verbs of K2V. Search and Follow are about a range of items, the others
// about one. Those on several items at once that are not here count as many.
const (
	Insert Verb = "insert"
	Remove Verb = "remove"
	Fetch  Verb = "fetch"
	Search Verb = "search"
	// Poll waits until an item is newer than a token, Follow until one of a
	// range is newer than a marker.
	Poll   Verb = "poll"
	Follow Verb = "follow"
)

// Verdict is what a client is told.
type Verdict string

const (
	// Done says that it took effect; of a Get or a List, this is the answer.
	Done Verdict = "done"
	// Failed says that the condition did not hold; nothing happened.
	Failed Verdict = "condition failed"
	// Missing says that there is no such key, so the condition did not hold.
	Missing Verdict = "no such key"
	// Refused says that it surely did not and will not happen, for no reason
	// in the data.
	Refused Verdict = "refused"
	// Maybe says that nobody knows whether it took effect, nor when it will have.
	Maybe Verdict = "maybe"
)

// Op is one request of one client, with what came of it.
type Op struct {
	Client int  `json:"client"`
	Verb   Verb `json:"verb"`
	// Key of the object or item; the prefix of a List, Search or Follow.
	Key string `json:"key"`
	// Value written; Want is demanded by a condition. "" is no object.
	Value string `json:"value,omitempty"`
	Want  string `json:"want,omitempty"`
	// Delimited says that a List asked for common prefixes.
	Delimited bool `json:"delimited,omitempty"`
	// Given is the causality token, or the marker, that came with a request.
	Given string `json:"given,omitempty"`
	// From and To bound what follows Key in the keys of a range; To is excluded,
	// "" no bound.
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
	// Aside says that what a Follow found was not followed on.
	Aside bool `json:"aside,omitempty"`

	Verdict Verdict `json:"verdict"`
	// Read is what a Get found, Keys what a List did: keys or, delimited,
	// common prefixes.
	Read string   `json:"read,omitempty"`
	Keys []string `json:"keys,omitempty"`
	// Values are those of an item that was read and Token what stands for them;
	// Items are those of a range. Unchanged says that a Poll or Follow waited in
	// vain.
	Values    []string `json:"values,omitempty"`
	Token     string   `json:"token,omitempty"`
	Items     []Item   `json:"items,omitempty"`
	Unchanged bool     `json:"unchanged,omitempty"`
	// Call and Return are times since the history began.
	Call   time.Duration `json:"call"`
	Return time.Duration `json:"return"`
	// Via is the gateway; Note says for people what was answered.
	Via  int    `json:"via"`
	Note string `json:"note,omitempty"`
}

// String is how an operation is shown.
func (o Op) String() string {
	s := fmt.Sprintf("%s %s", o.Verb, o.Key)
	if o.Want != "" {
		s += " [" + o.Want + "]"
	}
	if o.Value != "" {
		s += " := " + o.Value
	}
	if o.Given != "" {
		s += " seen " + o.Given
	}
	s += " → " + string(o.Verdict)
	switch {
	case o.Verdict != Done:
	case o.Verb == Get:
		s += fmt.Sprintf(" %q", o.Read)
	case o.Unchanged:
		s += " unchanged"
	case o.Token != "":
		s += fmt.Sprintf(" %v token %s", o.Values, o.Token)
	}
	if o.Note != "" {
		s += " (" + o.Note + ")"
	}
	return s
}

// writes reports whether the operation may change something.
func (o Op) writes() bool { return !o.Verb.reads() }

func (v Verb) reads() bool {
	switch v {
	case Get, List, Fetch, Search, Poll, Follow:
		return true
	}
	return false
}

// Judged is the verdict on an operation that was answered with an HTTP status
// and an error code, and whether any operation may get that answer. A
// server error says nothing about a write; a read it merely failed.
func Judged(verb Verb, status int, code string) (Verdict, bool) {
	reads := verb.reads()
	switch {
	case status/100 == 2:
		return Done, true
	case status == 304 && (verb == Poll || verb == Follow):
		return Done, true
	case status == 404 && (verb == Get || verb == Fetch) && code != "NoSuchBucket":
		return Done, true // the answer: nothing there
	case status == 404 && code == "NoSuchKey":
		return Missing, true
	case status == 412:
		return Failed, !reads
	case status == 403 && code == "RequestTimeTooSkewed":
		return Refused, true
	case status/100 == 5 || status == 409 || status == 0 || code == "RequestTimeout":
		if reads {
			return Refused, true
		}
		return Maybe, true
	}
	return Maybe, false
}
