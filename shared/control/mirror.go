package control

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"hangar/shared/fault"
)

const (
	attemptTimeout  = 2 * time.Second // of one request to JetStream, which may lack a leader
	idleCheck       = 5 * time.Second // how long silence is believed before the stream is looked at
	heartbeat       = time.Second     // of the consumer: a lost server is noticed after two
	resyncPause     = 100 * time.Millisecond
	resyncPauseMax  = 2 * time.Second
	batchMax        = 1024 // messages applied before a view is published
	persistInterval = time.Second
)

// MirrorOptions configure a mirror.
type MirrorOptions struct {
	// Log defaults to slog.Default.
	Log *slog.Logger
	// PersistTo is a file that Run keeps an export in, at most once a second
	// after changes and once at its end. Empty keeps none.
	PersistTo string
}

// Mirror follows the control state and shows it as a View. It never writes.
// All methods are safe for concurrent use.
type Mirror struct {
	js      jetstream.JetStream
	log     *slog.Logger
	persist string

	view    atomic.Pointer[View]
	updated atomic.Pointer[chan struct{}] // closed when the next view is published
	changed atomic.Pointer[chan struct{}] // closed when the layout next changes
	synced  chan struct{}                 // closed by the first published view
	once    sync.Once

	mu    sync.Mutex
	state *state // guarded by mu; replaced as a whole after a resynchronisation
}

// NewMirror makes a mirror. It shows an empty view until Run has caught up.
func NewMirror(nc *nats.Conn, o MirrorOptions) (*Mirror, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fault.Wrap(fault.Invalid, err, "control mirror")
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	m := &Mirror{js: js, log: o.Log, persist: o.PersistTo, synced: make(chan struct{})}
	m.view.Store(emptyView())
	for _, p := range []*atomic.Pointer[chan struct{}]{&m.updated, &m.changed} {
		c := make(chan struct{})
		p.Store(&c)
	}
	return m, nil
}

// View returns the newest picture. Never nil.
func (m *Mirror) View() *View { return m.view.Load() }

// WaitSynced returns once the mirror has caught up with the stream for the
// first time, or with ctx's error.
func (m *Mirror) WaitSynced(ctx context.Context) error {
	select {
	case <-m.synced:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// WaitRevision returns once the mirror has applied every change up to rev, or
// with ctx's error.
func (m *Mirror) WaitRevision(ctx context.Context, rev Revision) error {
	for {
		next := m.Updated() // before the look at the view, so that no update is missed
		if m.View().Revision >= rev {
			return nil
		}
		select {
		case <-next:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Updated is closed when the next view is published.
func (m *Mirror) Updated() <-chan struct{} { return *m.updated.Load() }

// Changed is closed when the layout next changes. Take it before looking at
// View, then wait.
func (m *Mirror) Changed() <-chan struct{} { return *m.changed.Load() }

// Run follows the control state until ctx ends. It waits for a stream that
// does not exist yet, and survives restarts and losses of the server: whatever
// happened, it ends up with the stream's content. It returns an error only if
// the last persisted copy could not be written.
func (m *Mirror) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	var persistErr error
	if m.persist != "" {
		wg.Go(func() { persistErr = m.keepPersisted(ctx) })
	}
	pause := resyncPause
	for ctx.Err() == nil {
		began := time.Now()
		err := m.follow(ctx)
		if ctx.Err() != nil {
			break
		}
		if time.Since(began) > idleCheck {
			pause = resyncPause
		}
		level := slog.LevelWarn
		if errors.Is(err, jetstream.ErrStreamNotFound) && m.View().Revision == 0 {
			level = slog.LevelDebug // a new cluster: the stream is about to be made
		}
		m.log.Log(ctx, level, "control mirror resynchronises", "error", err, "pause", pause)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
		pause = min(2*pause, resyncPauseMax)
	}
	wg.Wait()
	return persistErr
}

// follow reads the stream from its beginning until something fails.
func (m *Mirror) follow(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	info, err := m.streamInfo(ctx)
	if err != nil {
		return err
	}
	it, err := m.subscribe(ctx)
	if err != nil {
		return err
	}
	msgs := make(chan jetstream.Msg, batchMax)
	failed := make(chan error, 1)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer it.Stop()
	defer cancel()
	wg.Go(func() { failed <- m.pump(ctx, it, info.Created, msgs) })

	fresh := newState(m.log)
	if info.State.Msgs == 0 {
		fresh.revision = info.State.LastSeq
		m.publish(fresh)
	}
	return m.apply(fresh, info.State.LastSeq, msgs, failed)
}

// apply publishes what arrives until something fails. Until fresh has caught up
// with end the old view is better than half of the new one: the server that
// delivers may be behind the one that said where the stream ends. A tool may have
// removed what was last there; then it does without after idleCheck.
func (m *Mirror) apply(fresh *state, end Revision, msgs <-chan jetstream.Msg, failed <-chan error) error {
	patience := time.NewTimer(idleCheck)
	defer patience.Stop()
	drained := false
	for {
		select {
		case err := <-failed:
			return err
		case <-patience.C:
			end = 0
		case msg := <-msgs:
			var err error
			if drained, err = m.applyBatch(fresh, msg, msgs); err != nil {
				return err
			}
		}
		if drained && fresh.revision >= end || m.isCurrent(fresh) {
			m.publish(fresh)
		}
	}
}

func (m *Mirror) isCurrent(s *state) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state == s
}

// applyBatch applies first and whatever else has arrived, so that a burst
// costs one view. It reports whether the server has no more pending.
func (m *Mirror) applyBatch(s *state, first jetstream.Msg, more <-chan jetstream.Msg) (drained bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	msg := first
	for n := 1; ; n++ {
		meta, err := msg.Metadata()
		if err != nil {
			return false, fault.Wrap(fault.Internal, err, "control message without position")
		}
		s.apply(msg.Subject()[len(subjectPrefix):], msg.Data(), msg.Headers().Get(operationKey) != "", meta.Sequence.Stream)
		drained = meta.NumPending == 0
		if n == batchMax {
			return drained, nil
		}
		select {
		case msg = <-more:
		default:
			return drained, nil
		}
	}
}

// pump moves messages into out until ctx ends or the subscription fails. The
// consumer resumes by itself after a lost connection; what it cannot see is a
// stream that was made anew, whose sequences start again below its own.
func (m *Mirror) pump(ctx context.Context, it jetstream.MessagesContext, created time.Time, out chan<- jetstream.Msg) error {
	for {
		wait, cancel := context.WithTimeout(ctx, idleCheck)
		msg, err := it.Next(jetstream.NextContext(wait))
		cancel()
		switch {
		case err == nil:
			select {
			case out <- msg:
			case <-ctx.Done():
				return ctx.Err()
			}
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrTimeout):
			info, err := m.streamInfo(ctx)
			if errors.Is(err, jetstream.ErrStreamNotFound) {
				return err
			}
			if err == nil && (!info.Created.Equal(created) || info.State.LastSeq < m.View().Revision) {
				return fault.New(fault.Conflict, "the control stream was made anew")
			}
		default:
			return err
		}
	}
}

func (m *Mirror) streamInfo(ctx context.Context) (*jetstream.StreamInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	s, err := m.js.Stream(ctx, streamName)
	if err != nil {
		return nil, fault.Wrap(fault.Unavailable, err, "control stream")
	}
	return s.CachedInfo(), nil
}

func (m *Mirror) subscribe(ctx context.Context) (jetstream.MessagesContext, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	c, err := m.js.OrderedConsumer(ctx, streamName, jetstream.OrderedConsumerConfig{
		FilterSubjects:    []string{subjectPrefix + ">"},
		DeliverPolicy:     jetstream.DeliverLastPerSubjectPolicy,
		InactiveThreshold: time.Minute,
		MaxResetAttempts:  1, // then follow starts afresh, with a pause that ends with ctx
	})
	if err != nil {
		return nil, fault.Wrap(fault.Unavailable, err, "control consumer")
	}
	it, err := c.Messages(jetstream.PullHeartbeat(heartbeat))
	return it, fault.Wrap(fault.Unavailable, err, "control consumer")
}

// publish shows s to everybody.
func (m *Mirror) publish(s *state) {
	m.mu.Lock()
	old := m.view.Load()
	if m.state != s {
		m.state = s
		s.touchAll()
	}
	v := s.snapshot(old)
	m.view.Store(v)
	m.mu.Unlock()
	m.once.Do(func() { close(m.synced) })
	renew(&m.updated)
	if v.Layout != old.Layout {
		renew(&m.changed)
	}
}

// renew closes the channel in p and puts a new one in its place.
func renew(p *atomic.Pointer[chan struct{}]) {
	c := make(chan struct{})
	close(*p.Swap(&c))
}
