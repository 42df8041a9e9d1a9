package check

import (
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// register is the model of one key: it holds one value, or none.
var register = porcupine.Model{
	Init: func() any { return "" },
	Step: func(state, input, _ any) (bool, any) {
		return step(state.(string), input.(Op))
	},
	DescribeOperation: func(input, _ any) string { return input.(Op).String() },
}

// step says whether an operation may be answered as it was when the key holds
// now, and what it holds afterwards.
func step(now string, o Op) (bool, string) {
	holds := true
	switch o.Verb {
	case Get:
		return o.Read == now, now
	case PutAbsent:
		holds = now == ""
	case PutMatch, DelMatch:
		holds = now == o.Want
	}
	switch o.Verdict {
	case Done:
		return holds, o.Value
	case Failed:
		return !holds && (o.Verb == PutAbsent || now != ""), now
	case Missing:
		return !holds && now == "", now
	}
	if holds {
		return true, o.Value
	}
	return true, now
}

// Result is what a check found.
type Result struct {
	// Checked operations.
	Checked int
	// Violations, each in one line for people.
	Violations []string
	// Undecided keys, whose history could not be checked in time.
	Undecided []string
	// Files with evidence.
	Files []string
}

// OK reports whether nothing was found.
func (r Result) OK() bool { return len(r.Violations) == 0 && len(r.Undecided) == 0 }

// Merge adds another result.
func (r *Result) Merge(o Result) {
	r.Checked += o.Checked
	r.Violations = append(r.Violations, o.Violations...)
	r.Undecided = append(r.Undecided, o.Undecided...)
	r.Files = append(r.Files, o.Files...)
}

// Registers checks that the operations on each key are linearizable. limit
// bounds the time for each key. What proves a violation is drawn into dir.
func Registers(history []Op, limit time.Duration, dir string) (Result, error) {
	byKey := map[string][]porcupine.Operation{}
	for _, o := range history {
		if o.counts() {
			byKey[o.Key] = append(byKey[o.Key], o.operation())
		}
	}
	return linearizable(register, byKey, limit, dir)
}

// linearizable checks the operations on each key.
func linearizable(model porcupine.Model, byKey map[string][]porcupine.Operation, limit time.Duration, dir string) (r Result, err error) {
	for _, key := range slices.Sorted(maps.Keys(byKey)) {
		r.Checked += len(byKey[key])
		res, info := porcupine.CheckOperationsVerbose(model, byKey[key], limit)
		if res == porcupine.Ok {
			continue
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return r, err
		}
		path := filepath.Join(dir, strings.Map(fileRune, key)+".html")
		if err := porcupine.VisualizePath(model, info, path); err != nil {
			return r, err
		}
		r.Files = append(r.Files, path)
		if res == porcupine.Unknown {
			r.Undecided = append(r.Undecided, key)
			continue
		}
		r.Violations = append(r.Violations, fmt.Sprintf("%s: no order of its %d operations explains what the clients were told; see %s", key, len(byKey[key]), path))
	}
	return r, nil
}

// counts reports whether an operation says anything about its key.
func (o Op) counts() bool {
	switch {
	case o.Verb == List, o.Verdict == Refused:
		return false
	case o.Verb == Get:
		return o.Verdict == Done
	}
	return true
}

// operation is how porcupine sees it: what may happen any time never returns.
func (o Op) operation() porcupine.Operation {
	end := int64(o.Return)
	if o.Verdict == Maybe {
		end = math.MaxInt64
	}
	return porcupine.Operation{ClientId: o.Client, Input: o, Output: o.Verdict, Call: int64(o.Call), Return: end}
}

func fileRune(r rune) rune {
	if r == '/' || r == '|' || r < ' ' {
		return '_'
	}
	return r
}
