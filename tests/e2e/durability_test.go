package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"hangar/tests/harness"
)

// noRetry makes one attempt: what it answers is what the server said.
func noRetry(o *s3.Options) { o.RetryMaxAttempts = 1 }

// TestKillDuringWrites kills the server while clients write, several times.
// Every acknowledged object must be there and whole; every other one whole or
// absent.
func TestKillDuringWrites(t *testing.T) {
	s := harness.Start(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	sizes := []int{0, 100, 4 << 10, 40 << 10, 300 << 10, 1<<20 + 1, 3 << 20}
	acked := map[string]int{} // key → size
	tried := map[string]int{}
	for round := range 4 {
		delay := time.Duration(200+rng.IntN(1500)) * time.Millisecond
		ctx, cancel := context.WithCancel(testContext(t, time.Minute))
		var mu sync.Mutex
		var wg sync.WaitGroup
		for w := range 6 {
			wg.Go(func() {
				c := harness.SDK(s.S3, noRetry)
				for i := 0; ctx.Err() == nil; i++ {
					size := sizes[(i+w)%len(sizes)]
					key := fmt.Sprintf("kill/%d/%d/%d", round, w, i)
					mu.Lock()
					tried[key] = size
					mu.Unlock()
					if put(ctx, c, key, content(uint64(size+w), size)) == nil {
						mu.Lock()
						acked[key] = size
						mu.Unlock()
					}
				}
			})
		}
		<-time.After(delay) // the fault comes at a random time: nothing to await
		s.Kill()
		cancel()
		wg.Wait()
		s.Restart()
	}
	c := harness.SDK(s.S3)
	ctx := testContext(t, 2*time.Minute)
	lost, ghosts := 0, 0
	for key, size := range tried {
		var w int
		if _, err := fmt.Sscanf(key, "kill/%d/%d", new(int), &w); err != nil {
			t.Fatal(err)
		}
		b, err := get(ctx, c, key)
		_, wasAcked := acked[key]
		switch {
		case err != nil && (wasAcked || code(err) != "NoSuchKey"):
			t.Errorf("%s (%d bytes, acknowledged %t): %v", key, size, wasAcked, err)
			lost++
		case err == nil && !bytes.Equal(b, content(uint64(size+w), size)):
			t.Errorf("%s: content differs", key)
		case err == nil && !wasAcked:
			ghosts++
		}
	}
	t.Logf("%d writes tried, %d acknowledged, %d lost, %d completed without an answer", len(tried), len(acked), lost, ghosts)
	if len(acked) < 20 {
		t.Fatalf("only %d acknowledged writes: the test proves little", len(acked))
	}
}

// TestSpaceReturns: overwritten, deleted and aborted content leaves the disk.
func TestSpaceReturns(t *testing.T) {
	t.Parallel() // mostly waits for collection and compaction
	s := harness.Start(t, "HANGAR_BLOCKS_GC_GRACE=1s", "HANGAR_BLOCKS_GC_UNSAFE=true", "HANGAR_BLOCKS_SEGMENT_MIB=16")
	ctx := testContext(t, 2*time.Minute)
	c := harness.SDK(s.S3)
	for i := range 30 {
		if err := put(ctx, c, fmt.Sprint("space/", i%10), content(uint64(i), 3<<20)); err != nil {
			t.Fatal(err)
		}
	}
	up, err := c.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: aws.String(harness.Bucket), Key: aws.String("space/aborted")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.UploadPart(ctx, &s3.UploadPartInput{
		Bucket: aws.String(harness.Bucket), Key: aws.String("space/aborted"), UploadId: up.UploadId, PartNumber: aws.Int32(1), Body: bytes.NewReader(content(77, 8<<20)),
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: aws.String(harness.Bucket), Key: aws.String("space/aborted"), UploadId: up.UploadId}); err != nil {
		t.Fatal(err)
	}
	for i := range 9 {
		if _, err := c.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: aws.String(harness.Bucket), Key: aws.String(fmt.Sprint("space/", i))}); err != nil {
			t.Fatal(err)
		}
	}
	before := segmentBytes(t, s.Dir)
	if before < 30<<20 {
		t.Fatalf("segments take %d bytes after 98 MiB were written: the test looks in the wrong place", before)
	}
	deadline := time.Now().Add(time.Minute)
	for segmentBytes(t, s.Dir) > 40<<20 {
		if time.Now().After(deadline) {
			t.Fatalf("segments take %d bytes, before collection %d; 3 MiB are live", segmentBytes(t, s.Dir), before)
		}
		time.Sleep(100 * time.Millisecond) // watches files of another process
	}
	b, err := get(ctx, c, "space/9")
	if err != nil || !bytes.Equal(b, content(29, 3<<20)) {
		t.Fatalf("the live object: %d bytes, %v", len(b), err)
	}
}

// segmentBytes is the size of all segment files under dir.
func segmentBytes(t *testing.T, dir string) (n int64) {
	t.Helper()
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if os.IsNotExist(err) {
			return nil // removed while we looked
		}
		if err == nil && filepath.Ext(path) == ".seg" {
			n += info.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// fullShows waits until the server and the cluster say that the disk is full.
func fullShows(t *testing.T, s *harness.Server) {
	t.Helper()
	var h struct {
		Status  string
		Reasons []string
	}
	said := ""
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) { // admin lists nodes every second
		resp, err := http.Get(s.Admin + "/health")
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		s.AdminCall("GET", "/v2/GetClusterHealth", nil, &h)
		said = fmt.Sprintf("%s: %s; %+v", resp.Status, b, h)
		if resp.StatusCode == http.StatusOK && bytes.HasPrefix(b, []byte("Hangar serves reads and refuses writes\n")) && h.Status == "unavailable" && strings.Contains(said, "MiB") &&
			strings.Contains(fmt.Sprint(h.Reasons), "takes no writes") {
			return
		}
	}
	t.Errorf("on a full disk health says %s", said)
}

// TestDiskFull fills a small file system: writes are refused clearly, reads go
// on, nothing is damaged, and writes work again once there is room.
func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=640m"); err != nil {
		t.Skipf("cannot mount a small file system (needs root): %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	s := harness.StartOn(t, filepath.Join(dir, "data"), "HANGAR_META_RESERVE_MIB=64", "HANGAR_BLOCKS_RESERVE_MIB=128")
	ctx := testContext(t, 3*time.Minute)
	c := harness.SDK(s.S3, noRetry)
	stored := 0
	var refused error
	for ; stored < 400; stored++ {
		if refused = put(ctx, c, fmt.Sprint("full/", stored), content(uint64(stored), 2<<20)); refused != nil {
			break
		}
	}
	if refused == nil {
		t.Fatal("800 MiB fit into 640 MiB")
	}
	t.Logf("after %d objects: %v", stored, refused)
	if got := code(refused); got != "ServiceUnavailable" && got != "SlowDown" && got != "InsufficientStorage" && got != "XMinioStorageFull" && got != "StorageFull" {
		t.Errorf("refused with code %q: %v", got, refused)
	}
	fullShows(t, s)
	check := func() {
		t.Helper()
		for i := range stored {
			b, err := get(ctx, c, fmt.Sprint("full/", i))
			if err != nil || !bytes.Equal(b, content(uint64(i), 2<<20)) {
				t.Fatalf("object %d of %d on a full disk: %d bytes, %v", i, stored, len(b), err)
			}
		}
	}
	check()
	s.Kill()
	s.RestartFailing()
	check()
}
