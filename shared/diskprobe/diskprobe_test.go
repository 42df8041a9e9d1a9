package diskprobe

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// probed runs a probe whose writes end with what is sent to answers, in a time
// of its own, for as long as check runs.
func probed(t *testing.T, check func(p *Probe, answers chan<- error)) {
	synctest.Test(t, func(t *testing.T) {
		answers := make(chan error)
		p := New("/disk", func(string) error { return <-answers }, slog.New(slog.DiscardHandler))
		ctx, stop := context.WithCancel(t.Context())
		ran := make(chan error)
		go func() { ran <- p.Run(ctx) }()
		synctest.Wait()
		check(p, answers)
		stop()
		if err := <-ran; err != nil {
			t.Error(err)
		}
		close(answers) // a write that was left behind ends too
	})
}

func expect(t *testing.T, p *Probe, want string) {
	t.Helper()
	got := p.Failing()
	if want == "" && got != nil || want != "" && (got == nil || !strings.Contains(got.Error(), want)) {
		t.Errorf("failing with %v, want %q", got, want)
	}
}

func TestFailingDisk(t *testing.T) {
	probed(t, func(p *Probe, answers chan<- error) {
		expect(t, p, "") // nothing is known yet
		answers <- syscall.EIO
		synctest.Wait()
		expect(t, p, "input/output error")
		time.Sleep(Every)
		answers <- nil
		synctest.Wait()
		expect(t, p, "")
		if p.Failures() != 1 {
			t.Errorf("%d failures", p.Failures())
		}
	})
}

func TestStalledDisk(t *testing.T) {
	probed(t, func(p *Probe, answers chan<- error) {
		time.Sleep(Stall)
		expect(t, p, "")
		time.Sleep(time.Second)
		expect(t, p, "stalled")
		if p.Took() != Stall+time.Second {
			t.Errorf("took %v", p.Took())
		}
		answers <- nil // it comes back
		synctest.Wait()
		expect(t, p, "")
	})
}

// TestDeadDisk: a write that never comes back keeps nobody from stopping.
func TestDeadDisk(t *testing.T) {
	probed(t, func(p *Probe, _ chan<- error) {
		time.Sleep(time.Hour)
		expect(t, p, "stalled")
	})
}

func TestWriteAndSync(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, file)
	var seen []string
	for range 2 {
		if err := writeAndSync(path); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(path)
		if err != nil || len(b) != bytes {
			t.Fatalf("%d bytes, %v", len(b), err)
		}
		seen = append(seen, string(b))
	}
	if seen[0] == seen[1] {
		t.Error("both writes are the same")
	}
	if err := writeAndSync(filepath.Join(dir, "no", file)); err == nil {
		t.Error("wrote where there is no directory")
	}
}
