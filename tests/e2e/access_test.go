package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"hangar/tests/harness"
)

// admin does one Admin API request that changes something, and says whether every
// gateway had applied it when the answer came.
func admin(ctx context.Context, t *testing.T, c *harness.Cluster, path string, in, out any) (applied bool) {
	t.Helper()
	b, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.Admin+path, bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+harness.AdminToken)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode/100 != 2 {
		t.Fatalf("%s: %s: %s, %v", path, resp.Status, answer, err)
	}
	if out != nil {
		if err := json.Unmarshal(answer, out); err != nil {
			t.Fatal(err)
		}
	}
	return resp.Header.Get("X-Hangar-Barrier") != "timeout"
}

// gatewayKey is an access key as some client of each gateway has it.
type gatewayKey struct {
	ID      string `json:"accessKeyId"`
	Secret  string `json:"secretAccessKey"`
	clients []*s3.Client
}

func newKey(ctx context.Context, t *testing.T, c *harness.Cluster, in any) *gatewayKey {
	t.Helper()
	k := new(gatewayKey)
	admin(ctx, t, c, "/v2/CreateKey", in, k)
	for _, endpoint := range c.S3 {
		k.clients = append(k.clients, harness.SDKWithKey(endpoint, k.ID, k.Secret))
	}
	return k
}

// expect checks how each gateway answers a question that wants this code, "" for
// success. When not every gateway had applied the change in time they are asked
// again.
func expect(ctx context.Context, t *testing.T, k *gatewayKey, what string, applied bool, want string, ask func(*s3.Client) error) {
	t.Helper()
	for i, c := range k.clients {
		err := ask(c)
		for answer(err) != want && !applied && ctx.Err() == nil {
			time.Sleep(20 * time.Millisecond) // polls another process
			err = ask(c)
		}
		if answer(err) != want {
			t.Errorf("%s, gateway %d: %v, want code %q", what, i, err, want)
		}
	}
}

// answer is an error's code; its text when it has none.
func answer(err error) string {
	if c := code(err); c != "" || err == nil {
		return c
	}
	return err.Error()
}

func named(bucket string) string {
	if bucket == "" {
		return harness.Bucket
	}
	return bucket
}

// reading is a question whether an object can be read.
func reading(ctx context.Context, bucket, key string) func(*s3.Client) error {
	return func(c *s3.Client) error {
		out, err := c.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(named(bucket)), Key: aws.String(key)})
		if err == nil {
			err = out.Body.Close()
		}
		return err
	}
}

// TestAccessChangesOnEveryGateway: once the Admin API has answered, keys that
// expired, lost a right or were deleted are refused by all gateways, and names of
// buckets mean the same on all of them.
func TestAccessChangesOnEveryGateway(t *testing.T) {
	c := harness.StartCluster(t, "--meta", "3", "--blocks", "3", "--gateways", "2")
	ctx := testContext(t, 3*time.Minute)
	if err := put(ctx, harness.SDK(c.S3[0]), "kept", []byte("x")); err != nil {
		t.Fatal(err)
	}
	var bucket struct {
		ID string `json:"id"`
	}
	if err := harness.AdminCall(c.Admin, http.MethodGet, "/v2/GetBucketInfo?globalAlias="+harness.Bucket, nil, &bucket); err != nil {
		t.Fatal(err)
	}
	allow := func(k *gatewayKey, how string) bool {
		return admin(ctx, t, c, "/v2/"+how, map[string]any{
			"bucketId": bucket.ID, "accessKeyId": k.ID, "permissions": map[string]bool{"read": true},
		}, nil)
	}
	read := reading(ctx, "", "kept")

	t.Run("expiration", func(t *testing.T) {
		k := newKey(ctx, t, c, map[string]any{"name": "ends"})
		expect(ctx, t, k, "allowed to read", allow(k, "AllowBucketKey"), "", read)
		until := func(when time.Time) bool {
			return admin(ctx, t, c, "/v2/UpdateKey?id="+k.ID, map[string]any{"expiration": when}, nil)
		}
		expect(ctx, t, k, "ends in an hour", until(time.Now().Add(time.Hour)), "", read)
		expect(ctx, t, k, "ended a second ago", until(time.Now().Add(-time.Second)), "InvalidAccessKeyId", read)
		forever := admin(ctx, t, c, "/v2/UpdateKey?id="+k.ID, map[string]any{"neverExpires": true}, nil)
		expect(ctx, t, k, "never ends", forever, "", read)
	})
	t.Run("revocation", func(t *testing.T) {
		k := newKey(ctx, t, c, map[string]any{"name": "goes"})
		expect(ctx, t, k, "not allowed", true, "AccessDenied", read)
		expect(ctx, t, k, "allowed", allow(k, "AllowBucketKey"), "", read)
		expect(ctx, t, k, "denied", allow(k, "DenyBucketKey"), "AccessDenied", read)
		expect(ctx, t, k, "allowed again", allow(k, "AllowBucketKey"), "", read)
		gone := admin(ctx, t, c, "/v2/DeleteKey?id="+k.ID, nil, nil)
		expect(ctx, t, k, "deleted", gone, "InvalidAccessKeyId", read)
	})
	t.Run("aliases", func(t *testing.T) { aliases(ctx, t, c, bucket.ID, allow) })
}

// aliases gives a bucket more names, global ones and one of a key's own, and takes
// them away.
func aliases(ctx context.Context, t *testing.T, c *harness.Cluster, bucket string, allow func(*gatewayKey, string) bool) {
	mine, other := newKey(ctx, t, c, map[string]any{"name": "mine"}), newKey(ctx, t, c, map[string]any{"name": "other"})
	allow(mine, "AllowBucketKey")
	applied := allow(other, "AllowBucketKey")
	change := func(how string, names map[string]any) bool {
		names["bucketId"] = bucket
		return admin(ctx, t, c, "/v2/"+how, names, nil)
	}
	lists := func(k *gatewayKey, what string, applied bool, want ...string) {
		t.Helper()
		slices.Sort(want)
		expect(ctx, t, k, what, applied, "", func(cl *s3.Client) error {
			out, err := cl.ListBuckets(ctx, &s3.ListBucketsInput{})
			if err != nil {
				return err
			}
			var got []string
			for _, b := range out.Buckets {
				got = append(got, aws.ToString(b.Name))
			}
			if !slices.Equal(got, want) {
				return fmt.Errorf("buckets %q, want %q", got, want)
			}
			return nil
		})
	}
	lists(mine, "one name", applied, harness.Bucket)

	change("AddBucketAlias", map[string]any{"globalAlias": "second"})
	applied = change("AddBucketAlias", map[string]any{"globalAlias": "third"})
	for _, name := range []string{harness.Bucket, "second", "third"} {
		expect(ctx, t, other, "by "+name, applied, "", reading(ctx, name, "kept"))
	}
	lists(other, "three names", applied, harness.Bucket, "second", "third")

	applied = change("AddBucketAlias", map[string]any{"localAlias": "my-own", "accessKeyId": mine.ID})
	expect(ctx, t, mine, "by its own name", applied, "", reading(ctx, "my-own", "kept"))
	expect(ctx, t, other, "by another key's name", applied, "NoSuchBucket", reading(ctx, "my-own", "kept"))
	lists(mine, "four names", applied, harness.Bucket, "second", "third", "my-own")
	lists(other, "not the name of another key", applied, harness.Bucket, "second", "third")

	applied = change("RemoveBucketAlias", map[string]any{"globalAlias": "second"})
	expect(ctx, t, mine, "by a name taken away", applied, "NoSuchBucket", reading(ctx, "second", "kept"))
	expect(ctx, t, mine, "by a name that is left", applied, "", reading(ctx, "third", "kept"))
	applied = change("RemoveBucketAlias", map[string]any{"localAlias": "my-own", "accessKeyId": mine.ID})
	expect(ctx, t, mine, "by its own name taken away", applied, "NoSuchBucket", reading(ctx, "my-own", "kept"))
	lists(mine, "two names", applied, harness.Bucket, "third")
}
