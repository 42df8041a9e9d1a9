package control

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"hangar/shared/fault"
)

const (
	attemptTimeout  = 2 * time.Second // of one request to JetStream, which may lack a leader
	lookInterval    = 2 * time.Second // a change whose announcement was lost is noticed after this
	patience        = 5 * time.Second // how long replicas may be behind the leader
	resyncPause     = 100 * time.Millisecond
	resyncPauseMax  = 2 * time.Second
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
	nc      *nats.Conn
	log     *slog.Logger
	persist string

	wanted atomic.Uint64 // the newest revision that somebody has heard of
	poke   chan struct{} // says that wanted has changed

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
	if o.Log == nil {
		o.Log = slog.Default()
	}
	m := &Mirror{nc: nc, log: o.Log, persist: o.PersistTo, poke: make(chan struct{}, 1), synced: make(chan struct{})}
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
		m.want(rev)
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
	at := &position{state: newState(m.log)}
	for ctx.Err() == nil {
		began := time.Now()
		err := m.follow(ctx, at)
		if ctx.Err() != nil {
			break
		}
		if fault.Is(err, fault.Conflict) || errors.Is(err, jetstream.ErrStreamNotFound) {
			at = &position{state: newState(m.log), sameAccount: at.sameAccount}
		}
		if time.Since(began) > lookInterval {
			pause = resyncPause
		}
		level := slog.LevelWarn
		if errors.Is(err, jetstream.ErrStreamNotFound) && m.View().Revision == 0 {
			level = slog.LevelDebug // a new cluster: the stream is about to be made
		}
		m.log.Log(ctx, level, "the control state is not followed at the moment", "error", err, "pause", pause)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
		pause = min(2*pause, resyncPauseMax)
	}
	wg.Wait()
	return persistErr
}

// position is how far the mirror has read.
type position struct {
	state *state
	// created is when the stream was, to know it from one made anew.
	created time.Time
	// sameAccount says that the stream is in this connection's account of NATS.
	sameAccount bool
	// gone is how far the stream went when records up to there were missing for
	// so long that they must have been removed: a tool can do that.
	gone Revision
}

// follow reads on from at until something fails. Conflict means that at is of
// no use any more.
func (m *Mirror) follow(ctx context.Context, at *position) error {
	sub, err := m.nc.Subscribe(ChangedSubject, func(msg *nats.Msg) {
		if rev, err := strconv.ParseUint(msg.Header.Get(sequenceHeader), 10, 64); err == nil {
			m.want(rev)
		}
	})
	if err != nil {
		return fault.Wrap(fault.Unavailable, err, "changes of the control state")
	}
	// Fails only when the connection, and with it the subscription, has gone.
	defer func() { _ = sub.Unsubscribe() }()
	look := time.NewTicker(lookInterval)
	defer look.Stop()
	for {
		end, err := m.look(ctx, at)
		if err != nil {
			return err
		}
		for looked := false; !looked; {
			if err := m.catchUp(ctx, at, end); err != nil {
				return err
			}
			select {
			case <-m.poke:
				end = m.wanted.Load()
			case <-look.C:
				looked = true
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
}

// look asks the leader how far the stream goes.
func (m *Mirror) look(ctx context.Context, at *position) (Revision, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	subject := InfoSubject
	if at.sameAccount {
		subject = StreamInfoSubject
	}
	now, err := readExtent(ctx, m.nc, subject)
	if errors.Is(err, nats.ErrNoResponders) && !at.sameAccount {
		now, err = readExtent(ctx, m.nc, StreamInfoSubject)
		at.sameAccount = err == nil
	}
	if err != nil {
		return 0, err
	}
	switch {
	case at.created.IsZero():
		at.created = now.created
	case !now.created.Equal(at.created) || now.last < at.state.revision:
		return 0, fault.New(fault.Conflict, "the control stream was made anew")
	}
	if now.empty {
		at.gone = now.last
	}
	return now.last, nil
}

// catchUp reads until the mirror has what was written up to end, and publishes
// that. The replica that answers may be behind the leader that said where the
// stream ends, so it is asked again, until it must be that a tool removed what
// was last there. Until the mirror has caught up for the first time, its old view
// is better than half of the new one.
func (m *Mirror) catchUp(ctx context.Context, at *position, end Revision) error {
	for began := time.Now(); ; {
		changed, more, err := m.readOn(ctx, at.state)
		if err != nil {
			return err
		}
		if more {
			continue
		}
		if at.state.revision < end && time.Since(began) > patience {
			at.gone = max(at.gone, end)
			m.wanted.CompareAndSwap(end, 0)
		}
		reached := at.state.revision >= end || at.gone >= end
		if current := m.isCurrent(at.state); current && changed || !current && reached {
			if at.state.revision == 0 {
				at.state.revision = at.gone // all that was ever written is gone
			}
			m.publish(at.state)
		}
		if reached {
			return nil
		}
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
}

// readOn applies the next records, so that a burst costs one view.
func (m *Mirror) readOn(ctx context.Context, s *state) (changed, more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	records, more, err := readFrom(ctx, m.nc, s.revision+1)
	if err != nil {
		return false, false, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range records {
		s.apply(r.key, r.value, r.marker, r.rev)
	}
	return len(records) > 0, more, nil
}

// want has follow read up to rev without delay.
func (m *Mirror) want(rev Revision) {
	for now := m.wanted.Load(); rev > now && !m.wanted.CompareAndSwap(now, rev); now = m.wanted.Load() {
	}
	select {
	case m.poke <- struct{}{}:
	default:
	}
}

func (m *Mirror) isCurrent(s *state) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state == s
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
