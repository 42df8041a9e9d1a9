package work

import (
	"math"
	"sync"
	"time"
)

const (
	// paceEvery is the least time between two steps of the control. A step rests
	// on paceRequests at least, unless there are none, or not so many in paceAtLast.
	paceEvery, paceAtLast = 250 * time.Millisecond, 2 * time.Second
	paceRequests          = 30
	// quietFor is how long the quiet level remembers (to 1/e), and quietLeast how
	// many requests make one.
	quietFor   = time.Minute
	quietLeast = 10
	// outlier bounds how much a single request counts, in quiet levels.
	outlier = 20
	// firstPace is where the control begins.
	firstPace Pace = 2
)

// Foreground is how long a service's requests take, with and without background
// work beside them. Safe for concurrent use.
type Foreground struct {
	mu      sync.Mutex
	levels  map[string]*level // guarded by mu
	workers int               // guarded by mu: how many work at present
	ceased  time.Time         // guarded by mu: when the last of them began to rest
	pace    Pace              // guarded by mu
	stepped time.Time         // guarded by mu: when pace was last looked at
}

// level is one kind of requests.
type level struct {
	// since the last step
	sum float64 // seconds
	n   int
	// while nothing worked, in sums that decay
	quietSum, quietN float64
	decayed          time.Time
}

func newForeground() *Foreground {
	return &Foreground{levels: make(map[string]*level), pace: firstPace}
}

// Observe counts a request that has just ended and took d. Kinds keep requests
// apart that do different things: "get", "put". There are few of them.
func (f *Foreground) Observe(kind string, d time.Duration) {
	now := time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	l := f.levels[kind]
	if l == nil {
		l = &level{}
		f.levels[kind] = l
	}
	seconds := d.Seconds()
	if q, known := l.quiet(); known {
		seconds = min(seconds, outlier*q)
	}
	l.sum += seconds
	l.n++
	if f.workers == 0 && !now.Add(-d).Before(f.ceased) {
		keep := math.Exp(-now.Sub(l.decayed).Seconds() / quietFor.Seconds())
		l.quietSum, l.quietN, l.decayed = keep*l.quietSum+seconds, keep*l.quietN+1, now
	}
}

// quiet is the mean while nothing works, in seconds.
func (l *level) quiet() (mean float64, known bool) {
	return l.quietSum / l.quietN, l.quietN >= quietLeast && l.quietSum > 0
}

// working says that one more worker works, or one less. Where work begins again,
// a whole turn of work and rest lies behind: then the pace is looked at.
func (f *Foreground) working(begins bool) {
	now := time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	if !begins {
		if f.workers--; f.workers == 0 {
			f.ceased = now
		}
		return
	}
	f.workers++
	requests := 0
	for _, l := range f.levels {
		requests += l.n
	}
	if past := now.Sub(f.stepped); past < paceEvery || past < paceAtLast && 0 < requests && requests < paceRequests {
		return
	}
	if slowdown, known := f.slowdown(); known {
		f.pace = f.pace.Step(slowdown)
	}
	f.stepped = now
	for _, l := range f.levels {
		l.sum, l.n = 0, 0
	}
}

// slowdown is how many times longer than while nothing works requests took
// since the last step, 0 when there were none. It is not known while only such
// came of which no quiet level is known. The caller holds mu.
func (f *Foreground) slowdown() (times float64, known bool) {
	var sum float64
	n, strange := 0, false
	for _, l := range f.levels {
		q, ok := l.quiet()
		switch {
		case l.n == 0:
		case !ok:
			strange = true
		default:
			sum += l.sum / q
			n += l.n
		}
	}
	if n == 0 {
		return 0, !strange
	}
	return sum / float64(n), true
}

// ratio is how many times as long as it works a worker of tranquility t rests.
func (f *Foreground) ratio(t Tranquility) float64 {
	if t != Adaptive {
		return float64(t)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return float64(f.pace)
}
