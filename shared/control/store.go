package control

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"regexp"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"hangar/shared/fault"
)

const (
	operationTimeout = 10 * time.Second // of an operation whose caller sets no deadline
	casAttempts      = 50
)

// StoreOptions configure a store.
type StoreOptions struct {
	// Replicas of the stream: 1, 3 or 5. 0 means 1 for a new stream, and what
	// it has for an existing one.
	Replicas int
	// Existing refuses to make the stream, or to go on with one that holds nothing:
	// NotFound.
	Existing bool
}

// Store changes the control state. Every change is a compare-and-set of one
// record, decided on what the stream's leader holds; operations on several
// records order their writes so that a crash between two leaves nothing
// half-made that a View would show.
//
// All methods are safe for concurrent use, also by several processes. A nil
// error means that a majority of the stream's replicas holds the change; the
// revision returned is the one a mirror must reach to show it. Errors: Conflict
// (changed since it was read), Unavailable (nothing happened), Indeterminate
// (may have happened: look, then repeat), Invalid, NotFound, AlreadyExists.
type Store struct {
	nc     *nats.Conn
	js     jetstream.JetStream
	stream jetstream.Stream
}

// OpenStore connects to the control stream and creates it when there is none.
// It waits for JetStream to have a leader until ctx ends.
func OpenStore(ctx context.Context, nc *nats.Conn, o StoreOptions) (*Store, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fault.Wrap(fault.Invalid, err, "control store")
	}
	s := &Store{nc: nc, js: js}
	err = attempts(ctx, func(ctx context.Context) (err error) {
		s.stream, err = openStream(ctx, js, o)
		return err
	})
	if fault.Is(err, fault.NotFound) {
		return nil, err
	}
	if err != nil {
		return nil, unavailable(err)
	}
	return s, nil
}

func openStream(ctx context.Context, js jetstream.JetStream, o StoreOptions) (jetstream.Stream, error) {
	have, err := js.Stream(ctx, streamName)
	missing := errors.Is(err, jetstream.ErrStreamNotFound)
	switch {
	case o.Existing && (missing || err == nil && have.CachedInfo().State.Msgs == 0):
		return nil, fault.New(fault.NotFound, "NATS holds no control state")
	case missing:
		return js.CreateStream(ctx, streamConfig(max(o.Replicas, 1)))
	case err != nil:
		return nil, err
	}
	now := have.CachedInfo().Config
	want := now
	if o.Replicas != 0 {
		want.Replicas = o.Replicas
	}
	// A stream of an earlier version lacks these.
	fresh := streamConfig(want.Replicas)
	want.AllowDirect, want.RePublish = fresh.AllowDirect, fresh.RePublish
	if want.Replicas == now.Replicas && now.AllowDirect && now.RePublish != nil && *now.RePublish == *want.RePublish {
		return have, nil
	}
	return js.UpdateStream(ctx, want)
}

func streamConfig(replicas int) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:              streamName,
		Description:       "Hangar control state",
		Subjects:          []string{subjectPrefix + ">"},
		MaxMsgsPerSubject: 1,
		Discard:           jetstream.DiscardNew,
		Storage:           jetstream.FileStorage,
		Replicas:          replicas,
		DenyDelete:        true,
		AllowRollup:       true, // a key-value bucket for every client, as ADR-8 of NATS has it
		AllowDirect:       true, // mirrors read from any replica; a Store asks the leader
		RePublish:         &jetstream.RePublish{Source: subjectPrefix + ">", Destination: ChangedSubject, HeadersOnly: true},
	}
}

// attempts calls f with a short deadline until it succeeds, fails for good or
// ctx ends: requests to a JetStream without a leader are never answered.
func attempts(ctx context.Context, f func(ctx context.Context) error) error {
	for {
		attempt, cancel := context.WithTimeout(ctx, attemptTimeout)
		err := f(attempt)
		cancel()
		if err == nil || ctx.Err() != nil || !transient(err) {
			return err
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

// pause waits about d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d/2 + rand.N(d)):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// unsent reports whether err says that a request did not reach JetStream.
func unsent(err error) bool {
	for _, e := range []error{nats.ErrNoResponders, jetstream.ErrNoStreamResponse, nats.ErrConnectionReconnecting,
		nats.ErrReconnectBufExceeded, nats.ErrDisconnected} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// transient reports whether the same request may succeed a little later.
func transient(err error) bool {
	var api *jetstream.APIError
	return unsent(err) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrTimeout) ||
		errors.As(err, &api) && (api.Code == 503 || api.ErrorCode == errNoPeers)
}

// errNoPeers is how JetStream refuses a stream for which too few servers are
// there, which is so for a moment when all start together.
const errNoPeers jetstream.ErrorCode = 10005

func unavailable(err error) error {
	return fault.Wrap(fault.Unavailable, err, "control state cannot be reached")
}

// withDeadline bounds an operation whose caller did not.
func withDeadline(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, operationTimeout)
}

// read returns a record as the stream's leader holds it; rev 0 when there
// never was one.
func (s *Store) read(ctx context.Context, key string) (e entry, err error) {
	ctx, cancel := withDeadline(ctx)
	defer cancel()
	err = attempts(ctx, func(ctx context.Context) (err error) {
		e, err = readLast(ctx, s.nc, key)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			e, err = entry{marker: true}, nil
		}
		return err
	})
	if err != nil {
		return e, unavailable(err)
	}
	return e, nil
}

var recordKey = regexp.MustCompile(`^[-/_=a-zA-Z0-9]+(\.[-/_=a-zA-Z0-9]+)*$`)

// validRecordKey guards against keys that NATS would take for a wildcard.
func validRecordKey(key string) error {
	if len(key) > 256 || !recordKey.MatchString(key) {
		return fault.New(fault.Invalid, "%q cannot be a control key", key)
	}
	return nil
}

// write replaces what the key held at revision expect. When an answer is lost
// it repeats the same compare-and-set, which can take effect only once, and
// recognises its own record; so it ends up knowing, unless time runs out or
// somebody changed the record meanwhile.
func (s *Store) write(ctx context.Context, key string, e entry, expect Revision) (Revision, error) {
	if err := validRecordKey(key); err != nil {
		return 0, err
	}
	ctx, cancel := withDeadline(ctx)
	defer cancel()
	msg := nats.NewMsg(subjectPrefix + key)
	msg.Data = e.value
	if e.marker {
		msg.Header.Set(operationKey, "DEL")
	}
	lost := false // an earlier attempt may have taken effect
	for {
		attempt, stop := context.WithTimeout(ctx, attemptTimeout)
		ack, err := s.js.PublishMsg(attempt, msg, jetstream.WithExpectLastSequencePerSubject(expect))
		stop()
		switch {
		case err == nil:
			return ack.Sequence, nil
		case isConflict(err) && lost:
			return s.settle(ctx, key, e, expect)
		case isConflict(err):
			return 0, fault.Wrap(fault.Conflict, err, "%q was changed", key)
		}
		lost = lost || !unsent(err)
		if !transient(err) || pause(ctx, 50*time.Millisecond) != nil {
			if lost {
				return 0, fault.Wrap(fault.Indeterminate, err, "write %q", key)
			}
			return 0, unavailable(err)
		}
	}
}

// settle decides what became of a write whose answer was lost.
func (s *Store) settle(ctx context.Context, key string, e entry, expect Revision) (Revision, error) {
	now, err := s.read(ctx, key)
	switch {
	case err != nil:
		return 0, fault.Wrap(fault.Indeterminate, err, "write %q", key)
	case now.rev > expect && now.marker == e.marker && bytes.Equal(now.value, e.value):
		return now.rev, nil
	default:
		return 0, fault.New(fault.Indeterminate, "%q was changed while its write went unanswered", key)
	}
}

func isConflict(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence ||
		api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}

// load reads a record. A missing one is nil with the revision that a create
// must expect.
func load[T any](ctx context.Context, s *Store, key string) (*T, Revision, error) {
	if err := validRecordKey(key); err != nil {
		return nil, 0, err
	}
	e, err := s.read(ctx, key)
	if err != nil || e.marker {
		return nil, e.rev, err
	}
	v, err := decodeRecord[T](e.value)
	return v, e.rev, err
}

// put writes v as what follows revision expect.
func (s *Store) put(ctx context.Context, key string, v any, expect Revision) (Revision, error) {
	b, err := encodeRecord(v)
	if err != nil {
		return 0, err
	}
	return s.write(ctx, key, entry{value: b}, expect)
}

// create writes v where there is nothing. AlreadyExists otherwise.
func create[T any](ctx context.Context, s *Store, key string, v *T) (Revision, error) {
	now, expect, err := load[T](ctx, s, key)
	if err != nil {
		return 0, err
	}
	if now != nil {
		return 0, fault.New(fault.AlreadyExists, "%q exists", key)
	}
	rev, err := s.put(ctx, key, v, expect)
	if fault.Is(err, fault.Conflict) {
		return 0, fault.Wrap(fault.AlreadyExists, err, "%q exists", key)
	}
	return rev, err
}

// remove deletes what the key held at revision expect.
func (s *Store) remove(ctx context.Context, key string, expect Revision) (Revision, error) {
	return s.write(ctx, key, entry{marker: true}, expect)
}

// errUnchanged, returned by a change, ends modify with nothing written.
var errUnchanged = errors.New("unchanged")

// modify applies change to a record until no other writer came between. When
// there is no record it returns missing.
func modify[T any](ctx context.Context, s *Store, key string, missing error, change func(*T) error) (*T, Revision, error) {
	for try := 0; ; try++ {
		v, rev, err := load[T](ctx, s, key)
		if err != nil {
			return nil, 0, err
		}
		if v == nil {
			return nil, 0, missing
		}
		if err := change(v); errors.Is(err, errUnchanged) {
			return v, rev, nil
		} else if err != nil {
			return nil, 0, err
		}
		next, err := s.put(ctx, key, v, rev)
		if err == nil {
			return v, next, nil
		}
		if !fault.Is(err, fault.Conflict) || try == casAttempts {
			return nil, 0, err
		}
		if err := pause(ctx, 5*time.Millisecond); err != nil {
			return nil, 0, unavailable(err)
		}
	}
}

// upsert is modify for a record that counts as its zero value while there is
// none.
func upsert[T any](ctx context.Context, s *Store, key string, change func(*T) error) (*T, Revision, error) {
	for try := 0; ; try++ {
		v, rev, err := load[T](ctx, s, key)
		if err != nil {
			return nil, 0, err
		}
		if v == nil {
			v = new(T)
		}
		if err := change(v); errors.Is(err, errUnchanged) {
			return v, rev, nil
		} else if err != nil {
			return nil, 0, err
		}
		next, err := s.put(ctx, key, v, rev)
		if !fault.Is(err, fault.Conflict) || try == casAttempts {
			return v, next, err
		}
		if err := pause(ctx, 5*time.Millisecond); err != nil {
			return nil, 0, unavailable(err)
		}
	}
}

// Sync returns a view that holds every change completed before the call.
func (s *Store) Sync(ctx context.Context, m *Mirror) (*View, error) {
	ctx, cancel := withDeadline(ctx)
	defer cancel()
	var now extent
	err := attempts(ctx, func(ctx context.Context) (err error) {
		now, err = readExtent(ctx, s.nc, StreamInfoSubject)
		return err
	})
	if err != nil {
		return nil, unavailable(err)
	}
	if err := m.WaitSynced(ctx); err != nil {
		return nil, unavailable(err)
	}
	if err := m.WaitRevision(ctx, now.last); err != nil {
		return nil, unavailable(err)
	}
	return m.View(), nil
}
