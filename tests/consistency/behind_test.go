package consistency

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"

	"hangar/tests/harness"
	"hangar/tests/harness/natsproxy"
)

// TestBehind shows what the fence of access is for. A gateway hears nothing of
// changes of the control state while all else reaches it, as may be for a while
// after it was cut off. A key is deleted, and a bucket. Once the Admin API has
// said that this is applied, nothing that key asks of the gateway is done, nor is
// anything written to that bucket; what is still allowed goes on when the gateway
// has heard of it.
func TestBehind(t *testing.T) {
	r := newBehind(t, bin(t), nil)
	r.changeAccess()
	if did := r.tryAll(); len(did) > 0 {
		t.Errorf("the gateway that is behind let in: %v", did)
	}
	r.catchUp()
}

// TestBehindBites: without the fence the deleted key reads and writes, and the
// bucket that was found empty is not. See `make consistency-bites`.
func TestBehindBites(t *testing.T) {
	mutants := os.Getenv("HANGAR_MUTANTS")
	if mutants == "" {
		t.Skip("HANGAR_MUTANTS does not say where the binaries built with the tag mutations are")
	}
	r := newBehind(t, mutants, []string{"MUTATION=access-fence"})
	r.changeAccess()
	did := r.tryAll()
	t.Logf("without the fence the gateway let in: %v", did)
	if len(did) != len(r.attempts()) {
		t.Errorf("something is refused all the same: this test shows nothing")
	}
}

// behind is a cluster with a gateway, besides its own, that is kept from hearing
// of changes.
type behind struct {
	t       *testing.T
	ctx     context.Context
	c       *harness.Cluster
	proxy   *natsproxy.Proxy
	s3      string // of the gateway that is behind
	revoked struct {
		ID     string `json:"accessKeyId"`
		Secret string `json:"secretAccessKey"`
	}
}

const doomed = "doomed-bucket"

func newBehind(t *testing.T, bin string, env []string) *behind {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	t.Cleanup(cancel)
	r := &behind{t: t, ctx: ctx}
	r.c = harness.StartClusterOf(t, bin, env, "--meta", "3", "--blocks", "3", "--gateways", "1")
	r.proxy = natsproxy.Start(t, r.c.NATS)
	listen, ops := harness.FreeAddr(t), harness.FreeAddr(t)
	r.s3 = "http://" + listen
	cmd := exec.Command(filepath.Join(bin, "gateway"))
	cmd.Env = append([]string{ // not what this test was started with
		"HANGAR_NATS_URL=" + r.proxy.URL(), "HANGAR_S3_ADDR=" + listen, "HANGAR_K2V_ADDR=", "HANGAR_OPS_ADDR=" + ops,
	}, env...)
	gateway := harness.RunWith(t, "gateway", cmd, (*exec.Cmd).Start)
	t.Cleanup(gateway.Kill)
	gateway.AwaitHealthy("http://" + ops + "/health")

	r.admin("CreateKey", map[string]any{"name": "to be revoked"}, &r.revoked)
	r.admin("CreateBucket", map[string]any{"globalAlias": doomed}, nil)
	r.allow(doomed, harness.AccessKey)
	r.allow(harness.Bucket, r.revoked.ID)
	r.must(put1(r.ctx, r.client(r.s3, r.revoked.ID, r.revoked.Secret), harness.Bucket, "before"))
	r.must(put1(r.ctx, r.client(r.s3, harness.AccessKey, harness.SecretKey), doomed, "before"))
	_, err := r.client(r.s3, harness.AccessKey, harness.SecretKey).DeleteObject(r.ctx, &s3.DeleteObjectInput{
		Bucket: aws.String(doomed), Key: aws.String("before")})
	r.must(err)
	return r
}

// allow gives a key all rights on a bucket.
func (r *behind) allow(bucket, key string) {
	r.t.Helper()
	r.admin("AllowBucketKey", map[string]any{"bucketId": r.id(bucket), "accessKeyId": key,
		"permissions": map[string]bool{"read": true, "write": true, "owner": true}}, nil)
}

// id is a bucket's.
func (r *behind) id(bucket string) string {
	r.t.Helper()
	var info struct {
		ID string `json:"id"`
	}
	r.call(http.MethodGet, "GetBucketInfo?globalAlias="+bucket, nil, &info)
	return info.ID
}

func (r *behind) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// call does one request to the Admin API and reports whether what it changed is
// applied.
func (r *behind) call(method, path string, in, out any) (applied bool) {
	r.t.Helper()
	b, err := json.Marshal(in)
	r.must(err)
	req, err := http.NewRequestWithContext(r.ctx, method, r.c.Admin+"/v2/"+path, bytes.NewReader(b))
	r.must(err)
	req.Header.Set("Authorization", "Bearer "+harness.AdminToken)
	resp, err := http.DefaultClient.Do(req)
	r.must(err)
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	r.must(err)
	if resp.StatusCode/100 != 2 {
		r.t.Fatalf("%s: %s: %s", path, resp.Status, answer)
	}
	if out != nil {
		r.must(json.Unmarshal(answer, out))
	}
	return resp.Header.Get("X-Hangar-Barrier") == ""
}

func (r *behind) admin(path string, in, out any) (applied bool) {
	r.t.Helper()
	return r.call(http.MethodPost, path, in, out)
}

// client never tries again by itself.
func (r *behind) client(endpoint, key, secret string) *s3.Client {
	return harness.SDK(endpoint, func(o *s3.Options) {
		o.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: key, SecretAccessKey: secret}, nil
		})
		o.RetryMaxAttempts = 1
	})
}

func put1(ctx context.Context, c *s3.Client, bucket, key string) error {
	_, err := c.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String(bucket), Key: aws.String(key), Body: strings.NewReader(key)})
	return err
}

// changeAccess holds the gateway back, deletes the key and the bucket, and
// returns once the Admin API has called that applied.
func (r *behind) changeAccess() {
	r.t.Helper()
	r.proxy.Hold(natsproxy.Control, natsproxy.Presence)
	// As long as the gateway counts as one that is there, no change is applied.
	for !r.admin("CreateKey", map[string]any{"name": "of no use"}, nil) {
		r.must(r.ctx.Err())
	}
	if !r.admin("DeleteKey?id="+r.revoked.ID, nil, nil) {
		r.t.Fatal("the deletion of the key is not applied")
	}
	r.admin("DeleteBucket?id="+r.id(doomed), nil, nil)
}

// attempts are what the gateway must not let in, by name.
func (r *behind) attempts() map[string]func(context.Context) error {
	revoked := r.client(r.s3, r.revoked.ID, r.revoked.Secret)
	valid := r.client(r.s3, harness.AccessKey, harness.SecretKey)
	return map[string]func(context.Context) error{
		"a write by the deleted key": func(ctx context.Context) error {
			return put1(ctx, revoked, harness.Bucket, "after")
		},
		"a read by the deleted key": func(ctx context.Context) error {
			out, err := revoked.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(harness.Bucket), Key: aws.String("before")})
			if err == nil {
				err = out.Body.Close()
			}
			return err
		},
		"a listing by the deleted key": func(ctx context.Context) error {
			_, err := revoked.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: aws.String(harness.Bucket)})
			return err
		},
		"a write into the deleted bucket": func(ctx context.Context) error {
			return put1(ctx, valid, doomed, "after")
		},
	}
}

// tryAll makes each attempt and returns those that succeeded. The gateway waits
// to hear of the change as long as the client does.
func (r *behind) tryAll() (did []string) {
	for name, try := range r.attempts() {
		ctx, cancel := context.WithTimeout(r.ctx, 3*time.Second)
		err := try(ctx)
		cancel()
		if err == nil {
			did = append(did, name)
		}
	}
	return did
}

// catchUp lets the gateway hear of the changes while it is asked: what is not
// allowed any more is refused by name, and what still is goes on.
func (r *behind) catchUp() {
	answers := map[string]chan error{}
	for name, try := range r.attempts() {
		answers[name] = make(chan error, 1)
		go func() { answers[name] <- try(r.ctx) }()
	}
	valid := r.client(r.s3, harness.AccessKey, harness.SecretKey)
	still := make(chan error, 1)
	go func() { still <- put1(r.ctx, valid, harness.Bucket, "still allowed") }()
	r.must(r.proxy.Release())
	for name := range answers {
		want := "InvalidAccessKeyId"
		if strings.Contains(name, "bucket") {
			want = "NoSuchBucket"
		}
		err := <-answers[name]
		var api smithy.APIError
		if !errors.As(err, &api) || api.ErrorCode() != want {
			r.t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
	if err := <-still; err != nil {
		r.t.Errorf("a write that is still allowed: %v", err)
	}
	out, err := r.client(r.c.S3[0], harness.AccessKey, harness.SecretKey).ListObjectsV2(r.ctx, &s3.ListObjectsV2Input{
		Bucket: aws.String(harness.Bucket)})
	r.must(err)
	var names []string
	for _, o := range out.Contents {
		names = append(names, *o.Key)
	}
	if got := strings.Join(names, ", "); got != "before, still allowed" {
		r.t.Errorf("the bucket holds %s", got)
	}
}
