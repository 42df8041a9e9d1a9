package work

import (
	"log/slog"
	"strconv"
	"sync/atomic"

	"hangar/shared/fault"
)

// Variable is a setting that can be changed, or only be read, while the node
// runs. Its functions are safe for concurrent use.
type Variable struct {
	// Name is lower case with hyphens, and says whose it is: "resync-workers".
	Name string
	Get  func() string
	// Set checks a value and takes it. It takes whatever Get returns. nil: it
	// can only be read.
	Set func(value string) error
}

// Variable adds a variable, and gives it the value that was kept of it. A value
// that it does not take any more is logged and left at the default. Errors:
// AlreadyExists.
func (s *Set) Variable(v Variable) error {
	s.mu.Lock()
	_, exists := s.variables[v.Name]
	if !exists {
		s.variables[v.Name] = v
	}
	s.mu.Unlock()
	if exists {
		return fault.New(fault.AlreadyExists, "variable %s", v.Name)
	}
	if value, kept := s.memory.variable(v.Name); kept && v.Set != nil {
		if err := v.Set(value); err != nil {
			s.log.Warn("a variable cannot have the value that was kept",
				slog.String("variable", v.Name), slog.String("value", value), slog.Any("error", err))
		}
	}
	return nil
}

// Number is a Variable that holds a whole number from least to most in v, whose
// value is the default.
func Number(name string, v *atomic.Int64, least, most int64) Variable {
	return Variable{
		Name: name,
		Get:  func() string { return strconv.FormatInt(v.Load(), 10) },
		Set: func(value string) error {
			n, err := strconv.ParseInt(value, 10, 64)
			if err != nil || n < least || n > most {
				return fault.New(fault.Invalid, "%q is no whole number from %d to %d", value, least, most)
			}
			v.Store(n)
			return nil
		},
	}
}
