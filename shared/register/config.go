package register

import "math/bits"

// Set is a set of members: bit i stands for member i of a Config.
type Set uint32

// MaxMembers bounds the members of a Config.
const MaxMembers = 32

// Len is the number of members in s.
func (s Set) Len() int { return bits.OnesCount32(uint32(s)) }

// Has reports whether member i is in s.
func (s Set) Has(i int) bool { return s>>i&1 == 1 }

// lowest is the lowest member of s, which must not be empty.
func (s Set) lowest() int { return bits.TrailingZeros32(uint32(s)) }

// Config is who holds a row in one epoch. Members are numbered from 0 by the
// caller; the numbers mean nothing beyond one Config. A quorum is a majority
// in each of Sets.
type Config struct {
	Epoch   uint64
	Members int
	// Sets are the replica sets: none while no layout is known, one normally,
	// two while the row changes hands.
	Sets []Set
	// Near is the member asked for bodies when one is enough.
	Near int
	// ReadOne lets a read (NewGet) end with what one member of the first set
	// has, and without a write-back: rows are no longer linearizable.
	ReadOne bool
	// WriteOne lets a blind write (NewPut) end when one member of each set has
	// it: a loss of that member then loses the write.
	WriteOne bool
	// Wanted are the members that a repair is for (NewRepair): once they and a
	// quorum have answered it waits for no others. The zero Set is all members.
	Wanted Set
}

// one reports whether good holds a member of each set.
func (c *Config) one(good Set) bool {
	for _, s := range c.Sets {
		if s&good == 0 {
			return false
		}
	}
	return len(c.Sets) > 0
}

// quorum reports whether good holds a majority in each set.
func (c *Config) quorum(good Set) bool {
	for _, s := range c.Sets {
		if (s & good).Len() <= s.Len()/2 {
			return false
		}
	}
	return len(c.Sets) > 0
}

// blocked reports whether no quorum is possible without the members in bad.
func (c *Config) blocked(bad Set) bool { return !c.quorum(^bad) }

// dead reports whether no quorum below the ballot that unseen promised can
// ever hold an operation that none of unseen has seen.
func (c *Config) dead(unseen Set) bool {
	for _, s := range c.Sets {
		if (s &^ unseen).Len() > s.Len()/2 {
			return false
		}
	}
	return len(c.Sets) > 0
}
