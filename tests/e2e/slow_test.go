package e2e

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"hangar/tests/harness"
)

// memoryBound is what a server may hold under any load of these tests.
const memoryBound = 400 << 20

// memory reads a size such as VmHWM (the peak of resident memory) or VmRSS of
// the running server, in bytes.
func memory(t testing.TB, s *harness.Server, field string) int64 {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(s.PID()), "status"))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^` + field + `:\s+(\d+) kB$`).FindSubmatch(b)
	if m == nil {
		t.Fatalf("no %s in %s", field, b)
	}
	kib, err := strconv.ParseInt(string(m[1]), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kib << 10
}

// metric reads a gauge without labels.
func metric(t testing.TB, s *harness.Server, name string) float64 {
	t.Helper()
	resp, err := http.Get(s.Admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindSubmatch(b)
	if m == nil {
		t.Fatalf("no metric %s (%s)", name, resp.Status)
	}
	v, err := strconv.ParseFloat(string(m[1]), 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestSlowClientIsServed sends head and body byte by byte.
func TestSlowClientIsServed(t *testing.T) {
	s := sharedServer(t)
	key, body := uniqueKey(t), content(4, 700)
	c := dial(t, s.S3)
	if err := c.SetNoDelay(true); err != nil {
		t.Fatal(err)
	}
	head, _ := (&wireRequest{method: "PUT", target: objectPath(key), body: body}).head(c.RemoteAddr().String())
	for _, b := range append([]byte(head), body...) {
		if _, err := c.Write([]byte{b}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond) // so that each byte travels alone
	}
	readAnswer(t, bufio.NewReader(c), "PUT").want(t, "PUT", 200, "")
	if b, err := get(testContext(t, time.Minute), harness.SDK(s.S3), key); err != nil || !bytes.Equal(b, body) {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}

// TestStalledClientsAreLetGo: who stops sending is told so, and who stops
// reading is cut off; neither keeps anything.
func TestStalledClientsAreLetGo(t *testing.T) {
	s := harness.Start(t, "HANGAR_S3_STALL_TIMEOUT=1s")
	key, large := uniqueKey(t), content(5, 50<<20)
	if err := put(testContext(t, time.Minute), harness.SDK(s.S3), key, large); err != nil {
		t.Fatal(err)
	}
	for _, sent := range []int{1, 5000, 100000} {
		c := dial(t, s.S3)
		w := &wireRequest{method: "PUT", target: objectPath(key + "-stalled"), length: 1 << 20, payload: unsigned}
		head, _ := w.head(c.RemoteAddr().String())
		if _, err := c.Write(append([]byte(head), large[:sent]...)); err != nil {
			t.Fatal(err)
		}
		readAnswer(t, bufio.NewReader(c), "PUT").want(t, fmt.Sprint("stalled after ", sent), 400, "RequestTimeout")
	}
	const readers = 8
	before := memory(t, s, "VmRSS")
	conns := make([]io.Reader, readers)
	for i := range conns {
		c := dial(t, s.S3)
		if err := c.SetReadBuffer(64 << 10); err != nil {
			t.Fatal(err)
		}
		head, _ := (&wireRequest{method: "GET", target: objectPath(key)}).head(c.RemoteAddr().String())
		if _, err := c.Write([]byte(head)); err != nil {
			t.Fatal(err)
		}
		conns[i] = c
	}
	for i := range 50 { // others are served meanwhile
		if err := put(testContext(t, 10*time.Second), harness.SDK(s.S3, noRetry), fmt.Sprint("other-", i), large[:100000]); err != nil {
			t.Fatal(err)
		}
	}
	if grown := memory(t, s, "VmHWM") - before; grown > 200<<20 {
		t.Errorf("%d readers that stopped cost %d MiB", readers, grown>>20)
	}
	for deadline := time.Now().Add(20 * time.Second); metric(t, s, "hangar_s3_requests_active") > 0; {
		if time.Now().After(deadline) {
			t.Fatal("clients that stopped reading are still served")
		}
		time.Sleep(50 * time.Millisecond) // polls another process
	}
	for _, c := range conns {
		if n, err := io.Copy(io.Discard, c); n >= int64(len(large)) {
			t.Errorf("a reader that was cut off got %d bytes, %v", n, err)
		}
	}
	request(t, s, "HEAD", objectPath(key+"-stalled"), "").want(t, "the stalled upload", 404, "")
}

// TestVanishingClientsLeaveNothing: 200 clients go away in the middle of an
// upload.
func TestVanishingClientsLeaveNothing(t *testing.T) {
	s := harness.Start(t)
	body := content(6, 3<<20)
	// The first rounds warm up what stays.
	vanish := func(n int) {
		for i := range n {
			c := dial(t, s.S3)
			w := &wireRequest{method: "PUT", target: objectPath(fmt.Sprint("vanish/", i)), length: len(body), payload: unsigned}
			head, _ := w.head(c.RemoteAddr().String())
			sent := rand.IntN(len(body))
			if _, err := c.Write(append([]byte(head), body[:sent]...)); err != nil {
				t.Fatal(err)
			}
			if i%2 == 0 {
				if err := c.SetLinger(0); err != nil {
					t.Fatal(err)
				}
			}
			c.Close()
		}
		for deadline := time.Now().Add(20 * time.Second); metric(t, s, "hangar_s3_requests_active") > 0; {
			if time.Now().After(deadline) {
				t.Fatal("requests of clients that are gone are still served")
			}
			time.Sleep(20 * time.Millisecond) // polls another process
		}
	}
	vanish(40)
	before := metric(t, s, "go_goroutines")
	vanish(200)
	after := metric(t, s, "go_goroutines")
	// Idle workers of the HTTP server end on their own, after 10 to 20 s; none may
	// stay per client.
	for deadline := time.Now().Add(40 * time.Second); after > before+20 && time.Now().Before(deadline); after = metric(t, s, "go_goroutines") {
		time.Sleep(200 * time.Millisecond) // polls another process
	}
	if after > before+20 {
		t.Errorf("%v goroutines before, %v after", before, after)
	}
	if peak := memory(t, s, "VmHWM"); peak > memoryBound {
		t.Errorf("peak memory %d MiB", peak>>20)
	}
	out, err := harness.SDK(s.S3).ListObjectsV2(testContext(t, time.Minute), &s3.ListObjectsV2Input{Bucket: aws.String(harness.Bucket)})
	if err != nil || len(out.Contents) != 0 {
		t.Errorf("%d objects are left, %v", len(out.Contents), err)
	}
}

// TestMemoryOfManyUploads: 64 uploads of 20 MiB at once.
func TestMemoryOfManyUploads(t *testing.T) {
	s := harness.Start(t)
	body := content(8, 20<<20)
	ctx := testContext(t, 2*time.Minute)
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			_, err := harness.SDK(s.S3).PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String(harness.Bucket), Key: aws.String(fmt.Sprint(i)),
				Body: bytes.NewReader(append([]byte(fmt.Sprint(i)), body...)[:len(body)])})
			if err != nil {
				t.Errorf("upload %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	peak := memory(t, s, "VmHWM")
	t.Logf("peak %d MiB", peak>>20)
	if peak > memoryBound {
		t.Errorf("peak memory %d MiB", peak>>20)
	}
	for i := range 64 {
		if b, err := get(ctx, harness.SDK(s.S3), fmt.Sprint(i)); err != nil || len(b) != len(body) || !strings.HasPrefix(string(b), fmt.Sprint(i)) {
			t.Fatalf("object %d: %d bytes, %v", i, len(b), err)
		}
	}
}

// multipartCopy makes an object of n parts, all copies of one of 5 MiB and
// last a smaller one, and returns the parts.
func multipartCopy(ctx context.Context, t *testing.T, c *s3.Client, source, key string, n int) (string, []types.CompletedPart) {
	t.Helper()
	out, err := c.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: aws.String(harness.Bucket), Key: aws.String(key)})
	if err != nil {
		t.Fatal(err)
	}
	parts := make([]types.CompletedPart, n)
	var next atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				p, err := c.UploadPartCopy(ctx, &s3.UploadPartCopyInput{Bucket: aws.String(harness.Bucket), Key: aws.String(key),
					UploadId: out.UploadId, PartNumber: aws.Int32(int32(i + 1)), CopySource: aws.String(harness.Bucket + "/" + source)})
				if err != nil {
					t.Errorf("part %d: %v", i+1, err)
					return
				}
				parts[i] = types.CompletedPart{PartNumber: aws.Int32(int32(i + 1)), ETag: p.CopyPartResult.ETag}
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return *out.UploadId, parts
}

// TestManyParts lists and completes an upload of 300 parts, and reads across
// the borders of its parts.
func TestManyParts(t *testing.T) {
	s := sharedServer(t)
	ctx := testContext(t, time.Minute)
	c := harness.SDK(s.S3)
	source, key, n, body := uniqueKey(t)+"-part", uniqueKey(t), 300, content(10, 5<<20)
	if err := put(ctx, c, source, body); err != nil {
		t.Fatal(err)
	}
	id, parts := multipartCopy(ctx, t, c, source, key, n)
	listed := 0
	for p := s3.NewListPartsPaginator(c, &s3.ListPartsInput{Bucket: aws.String(harness.Bucket), Key: aws.String(key), UploadId: &id, MaxParts: aws.Int32(77)}); p.HasMorePages(); {
		page, err := p.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range page.Parts {
			if listed++; *p.PartNumber != int32(listed) || *p.Size != int64(len(body)) {
				t.Fatalf("part %d listed as number %d of %d bytes", listed, *p.PartNumber, *p.Size)
			}
		}
	}
	if listed != n {
		t.Fatalf("listed %d of %d parts", listed, n)
	}
	done, err := c.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{Bucket: aws.String(harness.Bucket), Key: aws.String(key), UploadId: &id,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: parts}})
	if err != nil || !strings.HasSuffix(strings.Trim(*done.ETag, `"`), fmt.Sprint("-", n)) {
		t.Fatalf("complete: %v, %v", done, err)
	}
	for range 50 {
		at := int64(1+rand.IntN(n-1))*int64(len(body)) - 1000
		a := request(t, s, "GET", objectPath(key), "", [2]string{"range", fmt.Sprintf("bytes=%d-%d", at, at+1999)})
		if want := string(body[len(body)-1000:]) + string(body[:1000]); a.StatusCode != http.StatusPartialContent || a.text != want {
			t.Fatalf("at %d: %d, %d bytes", at, a.StatusCode, len(a.text))
		}
	}
	for _, number := range []int{1, 150, 300} {
		a := request(t, s, "GET", fmt.Sprint(objectPath(key), "?partNumber=", number), "")
		if a.StatusCode != http.StatusPartialContent || a.text != string(body) || a.Header.Get("x-amz-mp-parts-count") != fmt.Sprint(n) {
			t.Errorf("part %d: %d, %d bytes of %s parts", number, a.StatusCode, len(a.text), a.Header.Get("x-amz-mp-parts-count"))
		}
	}
	request(t, s, "GET", objectPath(key)+"?partNumber=301", "").want(t, "part 301", 416, "InvalidPartNumber")
}

// zeros reads as nothing but zeros.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// TestLargeSparseObject stores 5 GiB that compress well, marked at each
// part's start, and reads at random places.
func TestLargeSparseObject(t *testing.T) {
	if testing.Short() {
		t.Skip("moves 5 GiB")
	}
	s := harness.Start(t)
	ctx := testContext(t, 5*time.Minute)
	c := harness.SDK(s.S3)
	const parts, partBytes = 10, 512 << 20
	key := uniqueKey(t)
	out, err := c.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: aws.String(harness.Bucket), Key: aws.String(key)})
	if err != nil {
		t.Fatal(err)
	}
	done := make([]types.CompletedPart, parts)
	for i := range parts {
		w := &wireRequest{method: "PUT", target: fmt.Sprintf("%s?partNumber=%d&uploadId=%s", objectPath(key), i+1, *out.UploadId), length: partBytes, payload: unsigned}
		c := dial(t, s.S3)
		if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		head, _ := w.head(c.RemoteAddr().String())
		mark := fmt.Sprintf("part %03d", i+1)
		if _, err := io.Copy(c, io.MultiReader(strings.NewReader(head+mark), io.LimitReader(zeros{}, partBytes-int64(len(mark))))); err != nil {
			t.Fatal(err)
		}
		a := readAnswer(t, bufio.NewReader(c), "PUT")
		a.want(t, mark, 200, "")
		done[i] = types.CompletedPart{PartNumber: aws.Int32(int32(i + 1)), ETag: aws.String(a.Header.Get("ETag"))}
		c.Close()
	}
	if _, err := c.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{Bucket: aws.String(harness.Bucket), Key: aws.String(key), UploadId: out.UploadId,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: done}}); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		part, before, after := rand.IntN(parts), rand.IntN(2<<20), 8+rand.IntN(2<<20)
		if part == 0 {
			before = 0
		}
		at := part*partBytes - before
		want := make([]byte, before+after)
		copy(want[before:], fmt.Sprintf("part %03d", part+1))
		a := request(t, s, "GET", objectPath(key), "", [2]string{"range", fmt.Sprintf("bytes=%d-%d", at, at+len(want)-1)})
		if a.StatusCode != http.StatusPartialContent || a.text != string(want) {
			t.Fatalf("%d bytes at %d: %d, %d bytes", len(want), at, a.StatusCode, len(a.text))
		}
	}
	peak := memory(t, s, "VmHWM")
	t.Logf("peak %d MiB", peak>>20)
	if peak > memoryBound {
		t.Errorf("peak memory %d MiB", peak>>20)
	}
}
