package load

import (
	"errors"
	"os"
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
