package store

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"hangar/shared/blockapi"
	"hangar/shared/blockapi/blocktest"
	"hangar/shared/fault"
	"hangar/shared/object"
	"hangar/shared/segment"
)

const (
	crashDir = "HANGAR_BLOCKS_TEST_CRASH_DIR"
	// crashDirs is the configuration of data directories, as spread takes it.
	crashDirs = "HANGAR_BLOCKS_TEST_CRASH_DIRS"
)

// TestMain turns the test binary into the writer that TestKill kills.
func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		if err := writeUntilKilled(dir, os.Getenv(crashDirs)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// writeUntilKilled puts blocks from many goroutines and prints the hash of
// each once it is acknowledged. Compaction and rollover run meanwhile.
// So do, with several directories, draining and rebalancing.
func writeUntilKilled(dir, dirs string) error {
	w := &world{dir: dir, verdicts: make(map[blockapi.Owner]blockapi.Verdict)}
	w.opts = crashOptions(w)
	configure(&testing.T{}, &w.opts, filepath.Dir(dir), dirs)
	w.start(&testing.T{})
	var out sync.Mutex
	failed := make(chan error, 10)
	for i := range 8 {
		go func() {
			for n := 0; ; n++ {
				b := blocktest.BlockOf(blocktest.Random(1 + (i*7919+n*104729)%60_000))
				o := blocktest.Owner()
				if err := w.Put(context.Background(), epoch, o, b); err != nil {
					failed <- err
					return
				}
				out.Lock()
				fmt.Println(b.Hash)
				out.Unlock()
				if n%2 == 0 { // half of them die at once, unacknowledged ones to be
					d := blocktest.Owner()
					if err := w.Put(context.Background(), epoch, d, blocktest.BlockOf(blocktest.Random(30_000))); err != nil {
						failed <- err
						return
					}
					w.kill(d)
					if err := w.gc.suspectReleased(context.Background(), blockapi.Released{Bucket: d.Bucket, Key: d.Key, Version: d.Version}); err != nil {
						failed <- err
						return
					}
				}
			}
		}()
	}
	go func() {
		for {
			w.pass(2 * grace)
			if err := w.Collect(context.Background()); err != nil {
				failed <- err
			}
			if err := w.Compact(context.Background()); err != nil {
				failed <- err
			}
		}
	}()
	go func() {
		for ctx := context.Background(); dirs != ""; {
			if err := w.Drain(ctx); err != nil {
				failed <- err
			}
			for r := (Rebalanced{}); !r.Done; {
				var err error
				if r, err = w.Rebalance(ctx, r); err != nil {
					failed <- err
					return
				}
			}
		}
	}()
	return <-failed
}

func crashOptions(w *world) Options {
	return Options{
		Node: testNode, Grace: grace, Verifier: w, DeadShare: 0.2,
		Clock:    func() time.Duration { return time.Duration(w.clock.Load()) },
		Segments: segment.Options{SegmentBytes: 1 << 20, ReserveBytes: 1},
	}
}

// TestKill kills a writer again and again: what it acknowledged is there and
// whole, and the store opens and takes writes.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	acked := make(map[object.Hash]bool)
	for round := range 4 {
		killAndCheck(t, dir, "", 40+round*35, acked)
	}
	t.Logf("%d acknowledged blocks", len(acked))
}

// TestKillWithDirectories does the same while directories are added, drained,
// filled alike and taken back into use.
func TestKillWithDirectories(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{"node", "a", "b", "c"} {
		if err := os.Mkdir(filepath.Join(root, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	acked := make(map[object.Hash]bool)
	for round, dirs := range []string{"", "main,%a", "main=ro,%a=1GB,%b=3GB", "%a=ro,%b,%c", "%a,%b=ro,%c", "main=1GB,%a,%b,%c=ro"} {
		killAndCheck(t, filepath.Join(root, "node"), dirs, 60+round*20, acked)
	}
	t.Logf("%d acknowledged blocks", len(acked))
}

// killAndCheck kills a writer after n acknowledgements. The directories are those
// of the configuration, beside dir.
func killAndCheck(t *testing.T, dir, dirs string, n int, acked map[object.Hash]bool) {
	t.Helper()
	killWriter(t, dir, dirs, n, acked)
	w := &world{dir: dir, verdicts: make(map[blockapi.Owner]blockapi.Verdict)}
	w.opts = crashOptions(w)
	configure(t, &w.opts, filepath.Dir(dir), dirs)
	w.start(t)
	for h := range acked {
		b, err := w.Get(t.Context(), h)
		if err == nil {
			err = w.codec.Verify(b)
		}
		if err != nil {
			t.Fatalf("%q: an acknowledged block: %v", dirs, err)
		}
	}
	checkSegments(t, w)
	plain := blocktest.Random(10_000)
	h := w.put(t, blocktest.Owner(), plain)
	if b, err := w.Get(t.Context(), h); err != nil || !bytes.Equal(b.Data, plain) {
		t.Fatal(err)
	}
	w.close()
}

// checkSegments walks every file: after a restart there is no torn record.
func checkSegments(t *testing.T, w *world) {
	t.Helper()
	for _, s := range w.log.Segments() {
		err := w.log.ScanFrom(s.ID, 0, func(e segment.Entry) error {
			return w.log.Read(e.Location, make([]byte, e.StoredBytes))
		})
		if fault.Is(err, fault.Corrupt) && !w.log.Draining(s.ID) { // what is only drained is not cut
			t.Errorf("segment %d: %v", s.ID, err)
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

// killWriter runs a writer in dir, kills it after about n acknowledgements and
// adds those to acked.
func killWriter(t *testing.T, dir, dirs string, n int, acked map[object.Hash]bool) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), crashDir+"="+dir, crashDirs+"="+dirs)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines, seen := bufio.NewScanner(out), 0
	for lines.Scan() {
		raw, err := hex.DecodeString(lines.Text())
		if err != nil || len(raw) != len(object.Hash{}) {
			continue // the last line may be cut
		}
		acked[object.Hash(raw)] = true
		if seen++; seen == n {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = cmd.Wait() // it was killed
	if seen < n {
		t.Fatalf("the writer ended by itself: %s", stderr.String())
	}
}
