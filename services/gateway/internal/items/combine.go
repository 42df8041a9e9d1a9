package items

import (
	"context"
	"errors"
	"slices"
	"sync"

	"hangar/shared/fault"
	"hangar/shared/metaapi"
)

// combiner has concurrent writes of one item go together: they would otherwise
// fight for its row. One writer at a time leads; it takes along all that came
// while the one before it was writing.
type combiner struct {
	mu    sync.Mutex
	lines map[Name]*line // guarded by mu
}

// line are the writes of one item that wait while another is under way.
type line struct{ waiting []*insertion }

// maxTogether bounds how many writes go together.
const maxTogether = MaxItemValues

// insertion is one write on its way.
type insertion struct {
	write Write
	by    metaapi.Admission
	// lead is closed when its goroutine is to lead, done when it is written; err
	// is set before.
	lead, done chan struct{}
	err        error
}

// Insert writes one value. Many writers of one item share one change of its row.
func (s *Service) Insert(ctx context.Context, w Write) error {
	if err := w.check(); err != nil {
		return err
	}
	leave, err := s.admit(w.Bucket)
	if err != nil {
		return err
	}
	defer leave()
	in := &insertion{write: w, by: metaapi.AdmissionOf(ctx), lead: make(chan struct{}), done: make(chan struct{})}
	if s.combine.join(in) {
		s.lead(ctx, in.write.Name)
		return in.err
	}
	select {
	case <-in.done:
		return in.err
	case <-in.lead:
		s.lead(ctx, in.write.Name)
		return in.err
	case <-ctx.Done():
	}
	if s.combine.withdraw(in) {
		return fault.Wrap(fault.Canceled, ctx.Err(), "nothing was written")
	}
	return fault.Wrap(fault.Indeterminate, ctx.Err(), "")
}

// join puts in in line. It reports true to whoever leads.
func (c *combiner) join(in *insertion) (leads bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.lines[in.write.Name]
	if leads = l == nil; leads {
		l = &line{}
		if c.lines == nil {
			c.lines = map[Name]*line{}
		}
		c.lines[in.write.Name] = l
	}
	l.waiting = append(l.waiting, in)
	return leads
}

// take returns those that go together next.
func (c *combiner) take(n Name) (batch []*insertion) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.lines[n]
	k := min(len(l.waiting), maxTogether)
	batch, l.waiting = l.waiting[:k:k], slices.Clone(l.waiting[k:])
	return batch
}

// hand makes the first who waits the leader.
func (c *combiner) hand(n Name) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.handLocked(n)
}

func (c *combiner) handLocked(n Name) {
	if l := c.lines[n]; len(l.waiting) > 0 {
		close(l.waiting[0].lead)
	} else {
		delete(c.lines, n)
	}
}

// withdraw takes out one that nobody has begun to write. It reports false when
// it is too late.
func (c *combiner) withdraw(in *insertion) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.lines[in.write.Name]
	if l == nil {
		return false
	}
	i := slices.Index(l.waiting, in)
	if i < 0 {
		return false
	}
	l.waiting = slices.Delete(l.waiting, i, i+1)
	select {
	case <-in.lead: // it was to lead: the next one does
		c.handLocked(in.write.Name)
	default:
	}
	return true
}

// lead writes what waits, the leader's own included, and hands on.
func (s *Service) lead(ctx context.Context, n Name) {
	batch := s.combine.take(n)
	defer s.combine.hand(n)
	s.write(ctx, n, batch)
	for _, in := range batch {
		close(in.done)
	}
}

// write writes a batch and notes what became of each.
func (s *Service) write(ctx context.Context, n Name, batch []*insertion) {
	// It is no longer one client's alone, and its fate is worth waiting for.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
	defer cancel()
	writes, errs, by := make([]*Write, len(batch)), make([]error, len(batch)), make(admissions, 0, len(batch))
	for i, in := range batch {
		writes[i] = &in.write
		if in.by != nil {
			by = append(by, in.by)
		}
	}
	if len(by) > 0 {
		ctx = metaapi.WithAdmission(ctx, by)
	}
	_, err := s.rows.Update(ctx, n.row(), s.update(writes, errs))
	if happened(err) {
		s.hub.Publish(ctx, n.Bucket, n.Partition, n.Sort)
	}
	if fault.Is(err, fault.Denied) && len(batch) > 1 {
		// One of them may no more: it is not to take the others along.
		for _, in := range batch {
			s.write(ctx, n, []*insertion{in})
		}
		return
	}
	for i, in := range batch {
		if in.err = errs[i]; in.err == nil || err != nil && !errors.Is(err, errs[0]) {
			in.err = unknownFate(err)
		}
	}
}

// admissions hold while all of them do.
type admissions []metaapi.Admission

// Current implements metaapi.Admission.
func (a admissions) Current(ctx context.Context, atLeast uint64) (newest uint64, err error) {
	for i, one := range a {
		rev, err := one.Current(ctx, atLeast)
		if err != nil {
			return 0, err
		}
		if i == 0 || rev < newest {
			newest = rev
		}
	}
	return newest, nil
}
