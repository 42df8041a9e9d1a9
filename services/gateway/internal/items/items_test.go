package items

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"hangar/services/gateway/internal/changes"
	"hangar/shared/causal"
	"hangar/shared/fault"
	"hangar/shared/metaapi"
	"hangar/shared/metaapi/metatest"
	"hangar/shared/object"
)

// slow is a table whose changes wait for a gate, and may fail.
type slow struct {
	metaapi.ItemRows
	gate    chan struct{}
	begun   chan struct{}
	updates atomic.Int32
	// after is the answer to a change that was made all the same.
	after error
}

func (s *slow) Update(ctx context.Context, k metaapi.RowKey, u metaapi.Update) (metaapi.Written, error) {
	s.updates.Add(1)
	if s.begun != nil {
		s.begun <- struct{}{}
		<-s.gate
	}
	if a := metaapi.AdmissionOf(ctx); a != nil {
		if _, err := a.Current(ctx, 0); err != nil {
			return metaapi.Written{}, err
		}
	}
	w, err := s.ItemRows.Update(ctx, k, u)
	return w, errors.Join(err, s.after)
}

func data(s string) causal.Value { return causal.Value{Data: []byte(s)} }

func read(t *testing.T, s *Service, n Name) (all []string) {
	t.Helper()
	item, err := s.Read(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range item.Values {
		all = append(all, string(v.Data))
	}
	slices.Sort(all)
	return all
}

// permit is an admission that says what it is told to.
type permit struct{ err error }

func (p permit) Current(context.Context, uint64) (uint64, error) { return 1, p.err }

// TestConcurrentWritesGoTogether: forty writers of one item need two changes of
// its row, no value is lost, and who may no more takes nobody along.
func TestConcurrentWritesGoTogether(t *testing.T) {
	rows := &slow{ItemRows: metatest.NewItems(), gate: make(chan struct{}), begun: make(chan struct{}, 100)}
	s := New(rows, changes.NewHub(nil), Config{})
	n := Name{object.NewBucketID(), "pk", "sk"}
	var running sync.WaitGroup
	write := func(i int, by metaapi.Admission, want fault.Kind) {
		running.Go(func() {
			err := s.Insert(metaapi.WithAdmission(context.Background(), by), Write{Name: n, Value: data(fmt.Sprint(i))})
			if want == 0 && err != nil || want != 0 && !fault.Is(err, want) {
				t.Errorf("write %d: %v", i, err)
			}
		})
	}
	waiting := func() int {
		s.combine.mu.Lock()
		defer s.combine.mu.Unlock()
		return len(s.combine.lines[n].waiting)
	}
	write(0, permit{}, 0)
	<-rows.begun
	for i := 1; i <= 40; i++ {
		write(i, permit{}, 0)
	}
	for waiting() < 40 { // the goroutines of this test are on their way
		runtime.Gosched()
	}
	close(rows.gate)
	running.Wait()
	if got := rows.updates.Load(); got != 2 {
		t.Errorf("%d changes of the row", got)
	}
	if got := read(t, s, n); len(got) != 41 {
		t.Errorf("%d values: %v", len(got), got)
	}

	rows.gate, rows.begun = make(chan struct{}), make(chan struct{}, 100)
	n.Sort = "other"
	write(0, permit{}, 0)
	<-rows.begun
	write(1, permit{}, 0)
	write(2, permit{fault.New(fault.Denied, "no more")}, fault.Denied)
	for waiting() < 2 {
		runtime.Gosched()
	}
	close(rows.gate)
	running.Wait()
	if got := read(t, s, n); !slices.Equal(got, []string{"0", "1"}) {
		t.Errorf("got %v", got)
	}
	if len(s.combine.lines) != 0 {
		t.Errorf("lines are left: %v", s.combine.lines)
	}
}

// TestWhoGivesUp: a writer whose time is up before its write began has written
// nothing, and the line goes on; later it is not known.
func TestWhoGivesUp(t *testing.T) {
	rows := &slow{ItemRows: metatest.NewItems(), gate: make(chan struct{}), begun: make(chan struct{}, 100)}
	s := New(rows, changes.NewHub(nil), Config{})
	n := Name{object.NewBucketID(), "pk", "sk"}
	first := make(chan error)
	go func() { first <- s.Insert(context.Background(), Write{Name: n, Value: data("first")}) }()
	<-rows.begun
	ctx, cancel := context.WithCancel(t.Context())
	second := make(chan error)
	go func() { second <- s.Insert(ctx, Write{Name: n, Value: data("second")}) }()
	for {
		s.combine.mu.Lock()
		there := len(s.combine.lines[n].waiting) == 1
		s.combine.mu.Unlock()
		if there {
			break
		}
	}
	cancel()
	if err := <-second; !fault.Is(err, fault.Canceled) {
		t.Errorf("got %v", err)
	}
	close(rows.gate)
	if err := <-first; err != nil {
		t.Error(err)
	}
	if got := read(t, s, n); !slices.Equal(got, []string{"first"}) {
		t.Errorf("got %v", got)
	}
}

// TestAnUnknownFateIsTold: an indeterminate write may be there; who waits
// hears of it, and the writer may repeat it without harm.
func TestAnUnknownFateIsTold(t *testing.T) {
	rows := &slow{ItemRows: metatest.NewItems(), after: fault.New(fault.Indeterminate, "no answer")}
	hub := changes.NewHub(nil)
	s := New(rows, hub, Config{})
	n := Name{object.NewBucketID(), "pk", "sk"}
	poll, err := s.PollItem(n, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer poll.Close()
	told := 0
	poll.OnChange(func() { told++ })
	for range 2 {
		if err := s.Insert(t.Context(), Write{Name: n, Value: data("x")}); !fault.Is(err, fault.Indeterminate) {
			t.Errorf("got %v", err)
		}
	}
	if got := read(t, s, n); told != 2 || !slices.Equal(got, []string{"x"}) {
		t.Errorf("told %d times, %v", told, got)
	}
}

// TestTokensReachNoFurtherThanTheItem: what a token claims beyond what there is
// supersedes nothing that is written later.
func TestTokensReachNoFurtherThanTheItem(t *testing.T) {
	s := New(metatest.NewItems(), changes.NewHub(nil), Config{})
	n := Name{object.NewBucketID(), "pk", "sk"}
	boast := causal.Context{{Node: 1, Time: causal.MaxTime}, {Node: 77, Time: causal.MaxTime}}
	for _, v := range []string{"a", "b"} {
		if err := s.Insert(t.Context(), Write{Name: n, Context: boast, Value: data(v)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Insert(t.Context(), Write{Name: n, Value: data("c")}); err != nil {
		t.Fatal(err)
	}
	item, err := s.Read(t.Context(), n)
	if got := read(t, s, n); err != nil || !slices.Equal(got, []string{"b", "c"}) || len(item.Context) != 1 {
		t.Errorf("got %v with %v", got, item.Context)
	}
	if _, err := causal.ParseToken(item.Context.Token()); err != nil {
		t.Error(err)
	}
}

// TestDeletesTakeWhatTheyRead: what is written between the reading and the
// deleting of a range stays.
func TestDeletesTakeWhatTheyRead(t *testing.T) {
	rows := &between{ItemRows: metatest.NewItems()}
	s := New(rows, changes.NewHub(nil), Config{})
	b := object.NewBucketID()
	n := Name{b, "pk", "sk"}
	if err := s.Insert(t.Context(), Write{Name: n, Value: data("old")}); err != nil {
		t.Fatal(err)
	}
	rows.hook = func() {
		if err := s.Insert(t.Context(), Write{Name: n, Value: data("new")}); err != nil {
			t.Error(err)
		}
	}
	if deleted, err := s.DeleteBatch(t.Context(), b, []Search{{Partition: "pk"}}); !slices.Equal(deleted, []int{1}) || err != nil {
		t.Errorf("%d, %v", deleted, err)
	}
	item, err := s.Read(t.Context(), n)
	if err != nil || len(item.Values) != 2 || string(item.Values[0].Data) != "new" || !item.Values[1].Deleted {
		t.Errorf("%+v, %v", item, err)
	}
}

// between does something before the rows of a batch change.
type between struct {
	metaapi.ItemRows
	hook func()
}

func (b *between) UpdateMany(ctx context.Context, c []metaapi.Change) []metaapi.Changed {
	b.hook()
	return b.ItemRows.UpdateMany(ctx, c)
}

// TestAShutBucket: no write begins after MayWrite said no and Quiesce returned.
func TestAShutBucket(t *testing.T) {
	shut := fault.New(fault.Conflict, "shut")
	s := New(metatest.NewItems(), changes.NewHub(nil), Config{MayWrite: func(object.BucketID) error { return shut }})
	n := Name{object.NewBucketID(), "pk", "sk"}
	if err := s.Quiesce(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, deleting := s.DeleteBatch(t.Context(), n.Bucket, []Search{{Partition: "pk"}})
	for _, err := range []error{s.Insert(t.Context(), Write{Name: n}), s.InsertBatch(t.Context(), n.Bucket, []Write{{Name: n}}), deleting} {
		if !errors.Is(err, shut) {
			t.Errorf("got %v", err)
		}
	}
}

// failing fails the changes of some rows, after making them if made says so.
type failing struct {
	metaapi.ItemRows
	fails map[string]error
	made  bool
}

func (f *failing) UpdateMany(ctx context.Context, all []metaapi.Change) []metaapi.Changed {
	out := make([]metaapi.Changed, len(all))
	for i, c := range all {
		err := f.fails[c.Key.Sub]
		if err == nil || f.made {
			out[i] = f.ItemRows.UpdateMany(ctx, []metaapi.Change{c})[0]
		}
		if err != nil {
			out[i].Err = err
		}
	}
	return out
}

// TestABatchSaysHowFarItCame: what is said to be written is, what is said not to
// be is not, and repeating the batch comes to the same as one that went well.
func TestABatchSaysHowFarItCame(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		made bool
		want fault.Kind
		says string
	}{
		"refused":  {fault.New(fault.Unavailable, "too few"), false, fault.Unavailable, "255 of the batch's 300 items are written, 0 may be, the others are not"},
		"unknown":  {fault.New(fault.Indeterminate, "no answer"), true, fault.Indeterminate, "255 of the batch's 300 items are written, 1 may be, the others are not"},
		"internal": {fault.New(fault.Internal, "a bug"), true, fault.Indeterminate, "255 of the batch's 300 items are written, 1 may be, the others are not"},
		"invalid":  {fault.New(fault.Invalid, "no good"), false, fault.Invalid, `item "130" of "pk": no good; 255 of the batch's 300 items are written, 0 may be, the others are not`},
	} {
		t.Run(name, func(t *testing.T) {
			rows := &failing{metatest.NewItems(), map[string]error{"130": c.err}, c.made}
			s, b := New(rows, changes.NewHub(nil), Config{}), object.NewBucketID()
			writes := make([]Write, 300)
			for i := range writes {
				writes[i] = Write{Name: Name{b, "pk", fmt.Sprintf("%03d", i)}, Value: data("x")}
			}
			all := Search{Partition: "pk"}
			err := s.InsertBatch(t.Context(), b, writes)
			if !fault.Is(err, c.want) || !errors.Is(err, ErrPartial) || message(err) != c.says {
				t.Errorf("got %v, want %v: %s", err, c.want, c.says)
			}
			there := 255
			if c.made {
				there++
			}
			room := NewRoom()
			if f, err := s.Search(t.Context(), b, all, &room); err != nil || len(f.Items) != there {
				t.Errorf("%d items are there, %v", len(f.Items), err)
			}
			_, err = s.DeleteBatch(t.Context(), b, []Search{{Partition: "none"}, all})
			if c.made && (!fault.Is(err, c.want) || message(err) != "search 2 of the batch's 2 was not finished; 255 items are deleted, 1 may be") {
				t.Errorf("deleting: %v", err)
			}
			if !c.made && err != nil {
				t.Errorf("deleting: %v", err)
			}
			rows.fails = nil
			if err := s.InsertBatch(t.Context(), b, writes); err != nil {
				t.Error(err)
			}
			deleted, err := s.DeleteBatch(t.Context(), b, []Search{all})
			if err != nil || !slices.Equal(deleted, []int{300}) {
				t.Errorf("deleted %d, %v", deleted, err)
			}
		})
	}
}

// TestNothingOfADeletionThatIsNotValid: the searches before the wrong one do
// nothing either.
func TestNothingOfADeletionThatIsNotValid(t *testing.T) {
	s, n := New(metatest.NewItems(), changes.NewHub(nil), Config{}), Name{object.NewBucketID(), "pk", "sk"}
	if err := s.Insert(t.Context(), Write{Name: n, Value: data("x")}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.DeleteBatch(t.Context(), n.Bucket, []Search{{Partition: "pk"}, {Partition: "pk", Single: true}}); !fault.Is(err, fault.Invalid) {
		t.Errorf("got %v", err)
	}
	if got := read(t, s, n); !slices.Equal(got, []string{"x"}) {
		t.Errorf("got %v", got)
	}
}
