package e2e

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"hangar/tests/harness"
)

// TestQuotaOfACluster: a quota set through the Admin API holds for writers through
// two gateways over three replicas, uploads in parts included, and is passed by no
// more than what those of one gateway have under way.
func TestQuotaOfACluster(t *testing.T) {
	const limit, writers, size = 60, 4, 2000
	c := harness.StartCluster(t, "--meta", "3", "--blocks", "3", "--gateways", "2")
	ctx := testContext(t, 3*time.Minute)
	var bucket struct {
		ID      string `json:"id"`
		Objects int64  `json:"objects"`
		Bytes   int64  `json:"bytes"`
	}
	info := func() {
		t.Helper()
		if err := harness.AdminCall(c.Admin, http.MethodGet, "/v2/GetBucketInfo?globalAlias="+harness.Bucket, nil, &bucket); err != nil {
			t.Fatal(err)
		}
	}
	info()
	quota := func(objects, bytes any) {
		t.Helper()
		in := map[string]any{"quotas": map[string]any{"maxObjects": objects, "maxSize": bytes}}
		for deadline := time.Now().Add(time.Minute); !admin(ctx, t, c, "/v2/UpdateBucket?id="+bucket.ID, in, nil); {
			if time.Now().After(deadline) {
				t.Fatal("the gateways do not apply the quota")
			}
		}
	}
	quota(nil, limit*size)
	var writing sync.WaitGroup
	for g, endpoint := range c.S3 {
		client := harness.SDK(endpoint)
		for w := range writers {
			writing.Go(func() {
				for i := 0; ; i++ {
					err := put(ctx, client, fmt.Sprintf("%d/%d/%d", g, w, i), content(uint64(i), size))
					if code(err) == "QuotaExceeded" {
						return
					}
					if err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
	}
	writing.Wait()
	if info(); bucket.Objects < limit || bucket.Objects > limit+writers {
		t.Fatalf("the bucket holds %+v", bucket)
	}
	one := harness.SDK(c.S3[0])
	up, err := one.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: aws.String(harness.Bucket), Key: aws.String("up")})
	if err != nil {
		t.Fatal(err)
	}
	part := &s3.UploadPartInput{Bucket: aws.String(harness.Bucket), Key: aws.String("up"), UploadId: up.UploadId, PartNumber: aws.Int32(1)}
	if _, err := one.UploadPart(ctx, part); code(err) != "" { // an empty one adds nothing
		t.Errorf("an empty part: %v", err)
	}
	if err := put(ctx, one, "0/0/0", content(1, size)); err != nil {
		t.Errorf("an overwrite of the same size: %v", err)
	}
	if err := put(ctx, one, "0/0/0", content(1, size+1)); code(err) != "QuotaExceeded" {
		t.Errorf("an overwrite by one byte more: %v", err)
	}
	quota(bucket.Objects, nil)
	if err := put(ctx, harness.SDK(c.S3[1]), "another", nil); code(err) != "QuotaExceeded" {
		t.Errorf("one object more: %v", err)
	}
	if _, err := one.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: aws.String(harness.Bucket), Key: aws.String("0/0/0")}); err != nil {
		t.Fatal(err)
	}
	if err := put(ctx, harness.SDK(c.S3[1]), "another", nil); err != nil {
		t.Errorf("in the place of a deleted one: %v", err)
	}
}
