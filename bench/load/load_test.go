package load

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"
)

func TestRunCounts(t *testing.T) {
	r, err := Run(os.Getpid(), 3, time.Minute, 10, func(_, i int) (int64, int64, error) {
		if i == 1 {
			return 0, 0, errors.New("one fails")
		}
		return 5, 2, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if r.Ops+r.Errors != 10 || r.Bytes != 5*r.Ops || r.Items != 2*r.Ops || r.Peak == 0 {
		t.Fatalf("%+v", r)
	}
}

func TestCPUGrowsWithWork(t *testing.T) {
	before, err := CPU(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for begin := time.Now(); time.Since(begin) < 10*time.Second; {
		if now, err := CPU(os.Getpid()); err != nil || now > before {
			if err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatal("ten seconds of work took no CPU time")
}

// TestHeld: a request waits for its answer without a goroutine, and says so.
func TestHeld(t *testing.T) {
	asked, answer := make(chan *http.Request, 1), make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r
		<-answer
		w.WriteHeader(http.StatusNotModified)
	}))
	defer s.Close()
	c := NewK2VClient(strings.TrimPrefix(s.URL, "http://"), "hangar", "id", "secret", "bucket")
	h, err := c.Hold(t.Context(), http.MethodGet, "partition", "sort_key=s")
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	r := <-asked
	if r.URL.Path != "/bucket/partition" || !strings.Contains(r.Header.Get("Authorization"), "/hangar/k2v/aws4_request") {
		t.Errorf("asked %s by %s", r.URL, r.Header.Get("Authorization"))
	}
	if !h.Waiting() {
		t.Error("does not wait")
	}
	refused := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	defer refused.Close()
	other, err := NewK2VClient(strings.TrimPrefix(refused.URL, "http://"), "hangar", "id", "secret", "bucket").Hold(t.Context(), http.MethodGet, "", "")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	for deadline := time.Now().Add(10 * time.Second); other.Waiting(); {
		if time.Now().After(deadline) {
			t.Fatal("waits although it was answered")
		}
	}
	close(answer)
	if status, err := h.Answer(time.Minute); status != http.StatusNotModified || err != nil {
		t.Errorf("%d, %v", status, err)
	}
}
