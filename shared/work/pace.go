package work

import (
	"strconv"

	"hangar/shared/fault"
)

// Tranquility is how long a worker rests: after work that took d, so many
// times d. 0 never rests.
type Tranquility int

// Adaptive rests as much as it takes to keep requests nearly as fast as they
// are while nothing works, see Pace.
const Adaptive Tranquility = -1

// maxTranquility is a hundredth of the time at work.
const maxTranquility = 99

const adaptive = "adaptive"

// ParseTranquility reads "adaptive" or a number from 0 to 99. Errors: Invalid.
func ParseTranquility(s string) (Tranquility, error) {
	if s == adaptive {
		return Adaptive, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 || n > maxTranquility {
		return 0, fault.New(fault.Invalid, "%q is neither a tranquility from 0 to %d nor %q", s, maxTranquility, adaptive)
	}
	return Tranquility(n), nil
}

func (t Tranquility) String() string {
	if t == Adaptive {
		return adaptive
	}
	return strconv.Itoa(int(t))
}

const (
	// tolerance is the share by which background work may slow requests down.
	tolerance = 0.1
	// The bounds of what Pace answers. It never works without a rest: between
	// pieces is where requests show how fast they are without it.
	leastPace, mostPace = 0.25, 30
	// The bounds of one step: it steps back at once, and comes again slowly.
	stepForth, stepBack = 0.8, 2
)

// Pace is the control behind Adaptive: how many times as long as it works the
// work rests. Requests that meet work are slowed, so how much slower they are on
// average is in proportion to the share of time at work, 1/(1+Pace): each step
// corrects that share by what was seen, within bounds.
type Pace float64

// Step returns the pace after a stretch of time in which requests took slowdown
// times as long, on average, as while nothing works. Without requests (0)
// nothing is in the way of working more.
func (p Pace) Step(slowdown float64) Pace {
	by := (slowdown - 1) / tolerance // of the excess that is allowed
	by = min(max(by, stepForth), stepBack)
	return min(max((1+p)*Pace(by)-1, leastPace), mostPace)
}
