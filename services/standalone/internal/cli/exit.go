package cli

import (
	"context"
	"errors"

	"hangar/client/k2v"
	"hangar/services/standalone/internal/adminclient"
	"hangar/services/standalone/internal/items"
	"hangar/services/standalone/internal/terminal"
)

// The exit codes of the command line, for scripts.
const (
	ExitFailed      = 1 // the cluster refused, or something else went wrong
	ExitUsage       = 2 // wrong arguments, or not confirmed; nothing was done
	ExitUnreachable = 3 // no answer, or "try again"; it may work later
	ExitRefused     = 4 // no admin token, or it does not allow this
	ExitMissing     = 5 // what the command is about does not exist
	ExitPartial     = 6 // some nodes did it, others did not
)

const exitCodes = `Exit codes: 0 done; 1 failed; 2 wrong usage, or not confirmed; 3 the API cannot be
reached, or says to try again; 4 the token or key is missing or does not allow it;
5 it does not exist; 6 some nodes failed.`

// exit is an error with its exit code.
type exit struct {
	code int
	error
}

// ExitCode is read by package lifecycle.
func (e *exit) ExitCode() int { return e.code }

func (e *exit) Unwrap() error { return e.error }

func wrong(err error) error {
	if err == nil {
		return nil
	}
	return &exit{ExitUsage, err}
}

// printable is an error whose text is safe to print.
type printable struct{ error }

func (p printable) Error() string { return terminal.Clean(p.error.Error()) }
func (p printable) Unwrap() error { return p.error }

// classify gives any error its exit code.
func classify(err error) error {
	if err == nil {
		return nil
	}
	code := ExitFailed
	if e, ok := errors.AsType[*exit](err); ok {
		code = e.code
	} else if e, ok := errors.AsType[*adminclient.Error](err); ok {
		switch {
		case e.Refused():
			code = ExitRefused
		case e.Unreachable():
			code = ExitUnreachable
		case e.Missing():
			code = ExitMissing
		}
	} else {
		code, err = classifyItems(err)
	}
	return &exit{code, printable{err}}
}

// classifyItems is classify for errors of hangar k2v, and those of nobody.
func classifyItems(err error) (int, error) {
	_, usage := errors.AsType[items.Usage](err)
	switch {
	case usage:
		return ExitUsage, err
	case errors.Is(err, k2v.ErrDenied):
		return ExitRefused, err
	case errors.Is(err, k2v.ErrUnavailable), errors.Is(err, k2v.ErrIndeterminate):
		return ExitUnreachable, err
	case errors.Is(err, k2v.ErrNotFound), errors.Is(err, k2v.ErrNoBucket):
		return ExitMissing, err
	case errors.Is(err, context.Canceled):
		return ExitFailed, errors.New("interrupted")
	}
	return ExitFailed, err
}
