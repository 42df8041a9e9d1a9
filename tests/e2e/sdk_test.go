package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"hangar/tests/harness"
)

// TestSDKDefaults uses aws-sdk-go-v2 as it comes: CRC32 trailers on uploads,
// checksums verified on downloads.
func TestSDKDefaults(t *testing.T) {
	s := sharedServer(t)
	ctx := testContext(t, time.Minute)
	c := harness.SDK(s.S3)
	for _, size := range []int{0, 1, 32 << 10, 32<<10 + 1, 1 << 20, 3<<20 + 7} {
		key, body := fmt.Sprint(uniqueKey(t), size), content(uint64(size), size)
		if err := put(ctx, c, key, body); err != nil {
			t.Fatalf("%d bytes: %v", size, err)
		}
		back, err := get(ctx, c, key)
		if err != nil || !bytes.Equal(back, body) {
			t.Fatalf("%d bytes: read %d, %v", size, len(back), err)
		}
	}
}

func TestSDKUnseekableStream(t *testing.T) {
	s := sharedServer(t)
	ctx := testContext(t, time.Minute)
	c := harness.SDK(s.S3)
	body := content(5, 2<<20)
	for _, algorithm := range []types.ChecksumAlgorithm{types.ChecksumAlgorithmCrc32, types.ChecksumAlgorithmCrc32c, types.ChecksumAlgorithmCrc64nvme, types.ChecksumAlgorithmSha1, types.ChecksumAlgorithmSha256} {
		key := uniqueKey(t)
		out, err := c.PutObject(ctx, &s3.PutObjectInput{
			Bucket: aws.String(harness.Bucket), Key: aws.String(key), Body: bytes.NewReader(body), ChecksumAlgorithm: algorithm,
		})
		if err != nil {
			t.Fatalf("%s: %v", algorithm, err)
		}
		head, err := c.HeadObject(ctx, &s3.HeadObjectInput{Bucket: aws.String(harness.Bucket), Key: aws.String(key), ChecksumMode: types.ChecksumModeEnabled})
		if err != nil {
			t.Fatal(err)
		}
		sums := func(crc32, crc32c, crc64, sha1, sha256 *string) string {
			return aws.ToString(crc32) + aws.ToString(crc32c) + aws.ToString(crc64) + aws.ToString(sha1) + aws.ToString(sha256)
		}
		a := sums(out.ChecksumCRC32, out.ChecksumCRC32C, out.ChecksumCRC64NVME, out.ChecksumSHA1, out.ChecksumSHA256)
		b := sums(head.ChecksumCRC32, head.ChecksumCRC32C, head.ChecksumCRC64NVME, head.ChecksumSHA1, head.ChecksumSHA256)
		if a == "" || a != b {
			t.Fatalf("%s: stored %q, returned %q", algorithm, a, b)
		}
	}
}

// TestConditionalCreateHasOneWinner: the reason people ask for If-None-Match.
func TestConditionalCreateHasOneWinner(t *testing.T) {
	s := sharedServer(t)
	ctx := testContext(t, time.Minute)
	c := harness.SDK(s.S3)
	for round := range 20 {
		key := fmt.Sprint(uniqueKey(t), round)
		var mu sync.Mutex
		winners := 0
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				_, err := c.PutObject(ctx, &s3.PutObjectInput{
					Bucket: aws.String(harness.Bucket), Key: aws.String(key), IfNoneMatch: aws.String("*"), Body: strings.NewReader(fmt.Sprint(i)),
				})
				switch {
				case err == nil:
					mu.Lock()
					winners++
					mu.Unlock()
				case code(err) != "PreconditionFailed":
					t.Errorf("round %d: %v", round, err)
				}
			})
		}
		wg.Wait()
		if winners != 1 {
			t.Fatalf("round %d: %d winners", round, winners)
		}
	}
}

// TestCompareAndSwapCounts increments a counter kept in an object.
func TestCompareAndSwapCounts(t *testing.T) {
	s := sharedServer(t)
	ctx := testContext(t, time.Minute)
	c := harness.SDK(s.S3)
	key := uniqueKey(t)
	if err := put(ctx, c, key, []byte("0")); err != nil {
		t.Fatal(err)
	}
	const clients, each = 4, 15
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			for done := 0; done < each; {
				if increment(ctx, t, c, key) {
					done++
				}
			}
		})
	}
	wg.Wait()
	b, err := get(ctx, c, key)
	if err != nil || string(b) != fmt.Sprint(clients*each) {
		t.Fatalf("counted to %q, %v", b, err)
	}
}

func increment(ctx context.Context, t *testing.T, c *s3.Client, key string) bool {
	out, err := c.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(harness.Bucket), Key: aws.String(key)})
	if err != nil {
		t.Error(err)
		return true
	}
	b, err := io.ReadAll(out.Body)
	out.Body.Close()
	if err != nil {
		t.Error(err)
		return true
	}
	var n int
	if _, err := fmt.Sscan(string(b), &n); err != nil {
		t.Error(err)
		return true
	}
	_, err = c.PutObject(ctx, &s3.PutObjectInput{
		Bucket: aws.String(harness.Bucket), Key: aws.String(key), IfMatch: out.ETag, Body: strings.NewReader(fmt.Sprint(n + 1)),
	})
	if err != nil && code(err) != "PreconditionFailed" {
		t.Error(err)
		return true
	}
	return err == nil
}

func TestListingIsCompleteAndOrdered(t *testing.T) {
	s := sharedServer(t)
	ctx := testContext(t, 2*time.Minute)
	c := harness.SDK(s.S3)
	prefix := uniqueKey(t) + "/"
	const n = 2300
	var wg sync.WaitGroup
	keys := make(chan int)
	for range 8 {
		wg.Go(func() {
			for i := range keys {
				if err := put(ctx, c, fmt.Sprintf("%sd%02d/%05d", prefix, i%23, i), []byte("x")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := range n {
		keys <- i
	}
	close(keys)
	wg.Wait()
	var got []string
	var next *string
	for {
		out, err := c.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: aws.String(harness.Bucket), Prefix: aws.String(prefix), ContinuationToken: next, MaxKeys: aws.Int32(700)})
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range out.Contents {
			got = append(got, aws.ToString(o.Key))
		}
		if !aws.ToBool(out.IsTruncated) {
			break
		}
		next = out.NextContinuationToken
	}
	if len(got) != n {
		t.Fatalf("listed %d of %d", len(got), n)
	}
	for i := 1; i < n; i++ {
		if got[i-1] >= got[i] {
			t.Fatalf("%q before %q", got[i-1], got[i])
		}
	}
	out, err := c.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: aws.String(harness.Bucket), Prefix: aws.String(prefix), Delimiter: aws.String("/")})
	if err != nil || len(out.CommonPrefixes) != 23 || len(out.Contents) != 0 {
		t.Fatalf("%d prefixes, %d keys, %v", len(out.CommonPrefixes), len(out.Contents), err)
	}
}

func TestVirtualHostedStyle(t *testing.T) {
	s := harness.Start(t, "HANGAR_S3_ROOT_DOMAIN=s3.hangar.test")
	ctx := testContext(t, time.Minute)
	_, port, _ := strings.Cut(strings.TrimPrefix(s.S3, "http://"), ":")
	dial := &http.Transport{Proxy: nil}
	dial.DialContext = harness.DialTo("127.0.0.1:" + port)
	c := harness.SDK("http://s3.hangar.test:"+port, func(o *s3.Options) {
		o.UsePathStyle = false
		o.HTTPClient = &http.Client{Transport: dial}
	})
	if err := put(ctx, c, "a//key", []byte("vhost")); err != nil {
		t.Fatal(err)
	}
	b, err := get(ctx, harness.SDK(s.S3), "a//key")
	if err != nil || string(b) != "vhost" {
		t.Fatalf("%q, %v", b, err)
	}
}

func TestAccessControl(t *testing.T) {
	s := sharedServer(t)
	ctx := testContext(t, time.Minute)
	owner := harness.SDK(s.S3)
	if err := put(ctx, owner, "secret", []byte("s")); err != nil {
		t.Fatal(err)
	}
	var key struct{ AccessKeyID, SecretAccessKey string }
	s.AdminCall("POST", "/v2/CreateKey", map[string]any{"name": "guest"}, &key)
	guest := harness.SDKWithKey(s.S3, key.AccessKeyID, key.SecretAccessKey)
	if _, err := get(ctx, guest, "secret"); code(err) != "AccessDenied" {
		t.Fatalf("a key without rights got %v", err)
	}
	var bucket struct{ ID string }
	s.AdminCall("GET", "/v2/GetBucketInfo?globalAlias="+harness.Bucket, nil, &bucket)
	s.AdminCall("POST", "/v2/AllowBucketKey", map[string]any{"bucketId": bucket.ID, "accessKeyId": key.AccessKeyID, "permissions": map[string]bool{"read": true}}, nil)
	if b, err := get(ctx, guest, "secret"); err != nil || string(b) != "s" {
		t.Fatalf("a key with read got %q, %v", b, err)
	}
	if err := put(ctx, guest, "secret", []byte("x")); code(err) != "AccessDenied" {
		t.Fatalf("a key without write wrote: %v", err)
	}
	if _, err := guest.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String("guest-bucket")}); code(err) != "AccessDenied" {
		t.Fatalf("a key that may not create buckets: %v", err)
	}
	wrong := harness.SDKWithKey(s.S3, key.AccessKeyID, strings.Repeat("0", 64))
	if _, err := get(ctx, wrong, "secret"); code(err) != "SignatureDoesNotMatch" {
		t.Fatalf("a wrong secret got %v", err)
	}
	s.AdminCall("POST", "/v2/DeleteKey?id="+key.AccessKeyID, nil, nil)
	if _, err := get(ctx, guest, "secret"); code(err) != "InvalidAccessKeyId" {
		t.Fatalf("a deleted key got %v", err)
	}
	resp, err := http.Get(s.S3 + "/" + harness.Bucket + "/secret")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden {
		t.Fatalf("an anonymous request got %s", resp.Status)
	}
}

func TestBucketWithContentIsNotDeleted(t *testing.T) {
	s := sharedServer(t)
	ctx := testContext(t, time.Minute)
	c := harness.SDK(s.S3)
	name := aws.String("not-empty-bucket")
	if _, err := c.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: name}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.PutObject(ctx, &s3.PutObjectInput{Bucket: name, Key: aws.String("k"), Body: strings.NewReader("v")}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: name}); code(err) != "BucketNotEmpty" {
		t.Fatalf("deleting a bucket with an object: %v", err)
	}
	if _, err := c.PutObject(ctx, &s3.PutObjectInput{Bucket: name, Key: aws.String("k2"), Body: strings.NewReader("v")}); err != nil {
		t.Fatalf("the bucket takes writes again: %v", err)
	}
	for _, k := range []string{"k", "k2"} {
		if _, err := c.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: name, Key: aws.String(k)}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: name}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: name}); err == nil {
		t.Fatal("the bucket is still there")
	}
}
