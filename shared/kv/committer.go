package kv

import (
	"context"
	"sync/atomic"
	"time"

	"hangar/shared/fault"
	"hangar/shared/span"
)

// The bounds of a Committer.
const (
	// DefaultGroup is the most updates that share a commit.
	DefaultGroup = 256
	// DefaultQueue is the most updates that wait.
	DefaultQueue = 1024
	// maxLinger is the longest wait for more updates, lingerStep how often it is
	// looked whether they have come.
	maxLinger  = time.Millisecond
	lingerStep = 50 * time.Microsecond
)

// Committer is the one writer of a Store. Synced commits are slow and serial,
// so it runs many callers' updates one after the other against one snapshot
// plus what the updates before them changed, and commits them together. Each
// update is atomic by itself and sees every update before it.
//
// Crash story: an update's caller hears nil only after Commit returned, so
// what was acknowledged is durable; a group is one Commit, so no update is ever
// half there.
type Committer struct {
	store Store
	group int
	queue chan *update
	// stopped is closed when Run has ended.
	stopped chan struct{}
	stats   Stats

	// What Run expects after the last commit: so many updates, and how long it
	// waits for them at most.
	expected int
	patience time.Duration
}

// Stats counts what a Committer did; read with atomic loads.
type Stats struct {
	Updates, Commits, Failures atomic.Int64
}

// NewCommitter returns the writer of s. Nothing else may call s.Commit while
// it runs. Run must be called for updates to make progress.
func NewCommitter(s Store) *Committer {
	return &Committer{
		store:   s,
		group:   DefaultGroup,
		queue:   make(chan *update, DefaultQueue),
		stopped: make(chan struct{}),
	}
}

// Stats returns the live counters.
func (c *Committer) Stats() *Stats { return &c.stats }

// Queued is the number of updates that wait.
func (c *Committer) Queued() int { return len(c.queue) }

// update is one caller's work: one update or several. Its state says who owns
// it: the caller until the committer claims it, the committer from then until
// done is closed.
type update struct {
	apply func(i int, tx *Tx) error
	// errs has room for what became of each; the first ran were run.
	errs  []error
	ran   int
	state atomic.Int32
	done  chan struct{}
	// traced has how the group fared kept in shared.
	traced bool
	shared shared
}

// shared is what an update's trace tells of its group.
type shared struct {
	began time.Time // when the updates of the group were run
	group int
	steps []Step
}

const (
	queued int32 = iota
	claimed
	abandoned
)

// Update runs apply on the committer's goroutine and returns once what it
// wrote is durable. An error of apply undoes its writes and comes back as it
// is. apply must not block, nor call Update. Errors besides apply's: Overloaded
// (the queue is full), Canceled or Unavailable (ctx ended before it was begun),
// StorageFull, and Invalid (it wrote too much): nothing happened; Internal: it
// may have happened. Once begun it is waited for whatever ctx says, so that
// apply may use the caller's buffers.
func (c *Committer) Update(ctx context.Context, apply func(*Tx) error) error {
	var room [1]error
	c.update(ctx, room[:], func(_ int, tx *Tx) error { return apply(tx) })
	return room[0]
}

// UpdateMany runs n updates, in order: apply with the number of each. Each is
// atomic by itself and has an error of its own, as from Update, but they wait in
// the queue as one and share a commit as long as it has room.
func (c *Committer) UpdateMany(ctx context.Context, n int, apply func(i int, tx *Tx) error) []error {
	errs := make([]error, n)
	for from := 0; from < n; {
		from += c.update(ctx, errs[from:], func(i int, tx *Tx) error { return apply(from+i, tx) })
	}
	return errs
}

// update has as many updates run as fit in a commit, at least one, sets what
// became of them, and returns how many they are.
func (c *Committer) update(ctx context.Context, errs []error, apply func(int, *Tx) error) int {
	ctx, s := span.Start(ctx, "kv.commit")
	u := &update{apply: apply, errs: errs, done: make(chan struct{}), traced: s.Recording()}
	var queued time.Time
	if u.traced {
		queued = time.Now()
	}
	if err := c.enqueue(ctx, u); err != nil {
		for i := range errs {
			errs[i] = err
		}
		u.ran = len(errs)
	}
	if u.traced {
		u.describe(ctx, s, queued)
	}
	s.End(u.errs[0])
	return u.ran
}

// describe adds to a trace what the update's group did. Updates of one group
// show the same steps, each in its own trace.
func (u *update) describe(ctx context.Context, s span.Span, queued time.Time) {
	if u.shared.group == 0 {
		return // it was never begun
	}
	s.Int("hangar.commit.group_updates", int64(u.shared.group))
	s.Int("hangar.commit.wait_us", u.shared.began.Sub(queued).Microseconds())
	for _, step := range u.shared.steps {
		span.Past(ctx, step.Name, step.Began, step.Ended)
	}
}

// enqueue queues u and waits for it. An error says that nothing of it was run.
func (c *Committer) enqueue(ctx context.Context, u *update) error {
	select {
	case c.queue <- u:
	default:
		return fault.New(fault.Overloaded, "the store's write queue is full")
	}
	var gone error
	select {
	case <-u.done:
		return nil
	case <-ctx.Done():
		gone = ctx.Err()
	case <-c.stopped:
		gone = fault.New(fault.Unavailable, "the store is closing")
	}
	if u.state.CompareAndSwap(queued, abandoned) {
		return gone
	}
	<-u.done
	return nil
}

// Run commits until ctx ends. What is queued then, or comes later, fails with
// Unavailable. It is called once.
func (c *Committer) Run(ctx context.Context) error {
	defer close(c.stopped)
	for {
		select {
		case <-ctx.Done():
			return nil
		case u := <-c.queue:
			c.linger()
			began := time.Now()
			n := c.commit(u)
			c.expected, c.patience = n+len(c.queue), min(time.Since(began)/2, maxLinger)
		}
	}
}

// linger waits a moment for the callers of the last commit to come back with
// their next update, so that they share the next commit with those that came
// during the last one. Otherwise two halves of the callers would wait for each
// other's commits in turn.
func (c *Committer) linger() {
	until := time.Now().Add(c.patience)
	for 1+len(c.queue) < c.expected && time.Now().Before(until) {
		time.Sleep(lingerStep)
	}
}

// commit gathers a group that begins with first, commits it, tells its callers
// and returns how many they are.
func (c *Committer) commit(first *update) int {
	var (
		group  []*update
		batch  Batch
		before []func() error
	)
	began := time.Now()
	// A full disk must not cost the work of running the group.
	err := c.store.Writable()
	if err == nil {
		err = c.store.View(func(r Reader) error {
			group, before = c.gather(first, r, &batch)
			return nil
		})
	}
	if err != nil && len(group) == 0 && first.state.CompareAndSwap(queued, claimed) {
		first.ran = len(first.errs)
		group = append(group, first) // it is told why nothing was run
	}
	for _, f := range before {
		if err == nil {
			err = f()
		}
	}
	for _, u := range group {
		batch.watched = batch.watched || u.traced
	}
	if err == nil && len(batch.ops) > 0 {
		err = c.store.Commit(&batch)
	}
	c.stats.Commits.Add(1)
	if err != nil {
		c.stats.Failures.Add(1)
	}
	for _, u := range group {
		c.stats.Updates.Add(int64(u.ran))
		for i := range u.errs[:u.ran] {
			if u.errs[i] == nil {
				u.errs[i] = err
			}
		}
		if u.traced {
			u.shared = shared{began, len(group), batch.steps}
		}
		close(u.done)
	}
	return len(group)
}

// gather runs queued updates against r until the group or the batch is full or
// nothing waits. Updates that fail by themselves change nothing but still wait
// for the commit, since they may have failed because of one that is in it.
func (c *Committer) gather(first *update, r Reader, batch *Batch) ([]*update, []func() error) {
	soft := c.store.MaxBatchBytes() / 2
	tx := &Tx{base: r, group: make(map[string]Op)}
	var group []*update
	for u := first; u != nil; u = c.next(len(group), tx.bytes, soft) {
		if !u.state.CompareAndSwap(queued, claimed) {
			continue // its caller has gone
		}
		group = append(group, u)
		for u.ran < len(u.errs) && (u.ran == 0 || tx.bytes < soft) {
			u.errs[u.ran] = tx.run(u, soft)
			u.ran++
		}
	}
	for _, op := range tx.group {
		batch.add(op)
	}
	return group, tx.before
}

// next takes one more update for the group, nil when it is full or none waits.
func (c *Committer) next(n, bytes, soft int) *update {
	if n >= c.group || bytes >= soft {
		return nil
	}
	select {
	case u := <-c.queue:
		return u
	default:
		return nil
	}
}

// Tx is what one update sees and changes: the snapshot, the updates of its
// group that ran before it, and its own writes.
type Tx struct {
	base  Reader
	group map[string]Op // of the updates before this one
	bytes int           // of group, at least
	own   []Op          // of this update, oldest first

	before, ownBefore []func() error // likewise
}

// Get returns the value of key, to be used only until apply returns and never
// changed.
func (t *Tx) Get(key []byte) (value []byte, found bool, err error) {
	for i := len(t.own) - 1; i >= 0; i-- {
		if string(t.own[i].Key) == string(key) {
			return t.own[i].Value, !t.own[i].Delete, nil
		}
	}
	if op, ok := t.group[string(key)]; ok {
		return op.Value, !op.Delete, nil
	}
	return t.base.Get(key)
}

// Set stores value under key. Both slices are kept until Update returns.
func (t *Tx) Set(key, value []byte) { t.own = append(t.own, Op{Key: key, Value: value}) }

// Delete removes key.
func (t *Tx) Delete(key []byte) { t.own = append(t.own, Op{Key: key, Delete: true}) }

// Before has f run before the group is committed. When it fails nothing of the
// group is committed, and all its updates fail with f's error. It is for what
// the update refers to outside the store, which must be on stable storage
// first: so a group shares that sync too.
func (t *Tx) Before(f func() error) { t.ownBefore = append(t.ownBefore, f) }

// run runs the next of u's updates and keeps what it wrote, unless it fails.
func (t *Tx) run(u *update, limit int) error {
	t.own, t.ownBefore = t.own[:0], t.ownBefore[:0]
	err := u.apply(u.ran, t)
	if err == nil {
		err = t.check(limit)
	}
	if err == nil {
		t.keep()
	}
	return err
}

// check refuses an update that would make the group's commit fail.
func (t *Tx) check(limit int) error {
	n := 0
	for i := range t.own {
		if err := t.own[i].Check(); err != nil {
			return err
		}
		n += opBytes(t.own[i])
	}
	if n > limit {
		return fault.New(fault.Invalid, "update of %d bytes is larger than %d", n, limit)
	}
	return nil
}

// keep makes the update's writes part of the group.
func (t *Tx) keep() {
	for _, op := range t.own {
		t.group[string(op.Key)] = op
		t.bytes += opBytes(op)
	}
	t.before = append(t.before, t.ownBefore...)
}
