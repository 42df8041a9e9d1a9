package work

import (
	"sync"
	"time"

	"hangar/shared/nodeapi"
)

// Results count how pieces of work ended. Every Worker has them; they also serve
// work that no Set runs. Safe for concurrent use; the zero Results are ready.
type Results struct {
	mu          sync.Mutex
	errors, row int64     // guarded by mu: in all and in a row
	last        string    // guarded by mu
	lastAt      time.Time // guarded by mu
}

// Note counts a piece of work that ended at now. nil ends a row of errors.
func (r *Results) Note(now time.Time, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil {
		r.row = 0
		return
	}
	r.errors++
	r.row++
	r.last, r.lastAt = err.Error(), now
}

// Describe puts the counts into what operators see of the work.
func (r *Results) Describe(w *nodeapi.Worker) {
	r.mu.Lock()
	defer r.mu.Unlock()
	w.Errors, w.ConsecutiveErrors, w.LastError, w.LastErrorAt = r.errors, r.row, r.last, r.lastAt
}

// inARow counts those that failed since the last that did not.
func (r *Results) inARow() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.row
}
