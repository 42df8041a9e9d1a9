// Package fault is Hangar's one error type. An error carries a Kind, which
// callers branch on and which survives the wire; everything else in it is for
// people. Kinds are append-only: their numbers are wire format.
package fault

import (
	"context"
	"errors"
	"fmt"
)

// Kind says what a caller may conclude from an error.
type Kind uint8

// The kinds. Never renumber, never reuse.
const (
	// Internal is a bug or an unexpected failure of a dependency. Whether a
	// write happened is unknown.
	Internal Kind = 0
	// NotFound: the thing asked for does not exist.
	NotFound Kind = 1
	// AlreadyExists: the thing to be created exists.
	AlreadyExists Kind = 2
	// Precondition: a condition of the caller is false; nothing happened.
	Precondition Kind = 3
	// Invalid: the request can never succeed as it is; nothing happened.
	Invalid Kind = 4
	// Denied: the caller is known and may not do this; nothing happened.
	Denied Kind = 5
	// Unavailable: too few replicas answered in time and nothing happened;
	// the same request may succeed later.
	Unavailable Kind = 6
	// Indeterminate: the operation may or may not have happened.
	Indeterminate Kind = 7
	// Overloaded: refused before any work was done; try again more slowly.
	Overloaded Kind = 8
	// StorageFull: a disk is full or failing; nothing happened.
	StorageFull Kind = 9
	// Corrupt: stored or received bytes do not match their hash.
	Corrupt Kind = 10
	// OldEpoch: the request was made for a layout that is no longer current.
	OldEpoch Kind = 11
	// Canceled: the caller went away.
	Canceled Kind = 12
	// NotImplemented: understood and deliberately not built.
	NotImplemented Kind = 13
	// Conflict: somebody else changed the thing since it was read; read it
	// again. Nothing happened.
	Conflict Kind = 14
	// QuotaExceeded: a configured limit of the bucket would be passed.
	QuotaExceeded Kind = 15
	// NotEmpty: a container to be deleted still holds something.
	NotEmpty Kind = 16
)

var names = [...]string{
	"internal", "not found", "already exists", "precondition failed", "invalid",
	"denied", "unavailable", "indeterminate", "overloaded", "storage full",
	"corrupt", "old epoch", "canceled", "not implemented", "conflict",
	"quota exceeded", "not empty",
}

func (k Kind) String() string {
	if int(k) < len(names) {
		return names[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Error is an error with a kind. Msg is for people and may be shown to the
// client; the cause is for the log.
type Error struct {
	Kind Kind
	Msg  string
	Err  error
}

func (e *Error) Error() string {
	switch {
	case e.Err == nil:
		return e.Kind.String() + ": " + e.Msg
	case e.Msg == "":
		return e.Kind.String() + ": " + e.Err.Error()
	default:
		return e.Kind.String() + ": " + e.Msg + ": " + e.Err.Error()
	}
}

func (e *Error) Unwrap() error { return e.Err }

// New makes an error of kind k.
func New(k Kind, format string, args ...any) error {
	return &Error{Kind: k, Msg: fmt.Sprintf(format, args...)}
}

// Wrap gives err kind k and a message. A nil err stays nil.
func Wrap(k Kind, err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return &Error{Kind: k, Msg: fmt.Sprintf(format, args...), Err: err}
}

// KindOf is the kind of the outermost Error in err's chain. Context errors
// without one count as Canceled or, for a passed deadline, Unavailable; a
// writer that had already sent its request must say Indeterminate itself.
func KindOf(err error) Kind {
	var e *Error
	switch {
	case errors.As(err, &e):
		return e.Kind
	case errors.Is(err, context.Canceled):
		return Canceled
	case errors.Is(err, context.DeadlineExceeded):
		return Unavailable
	default:
		return Internal
	}
}

// Is reports whether err is an error of kind k. It is false for nil.
func Is(err error, k Kind) bool { return err != nil && KindOf(err) == k }
