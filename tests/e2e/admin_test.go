package e2e

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"hangar/tests/harness"
)

type anyJSON = map[string]any

// TestAdminLooksIntoWhatIsStored compares what the Admin API says with what was
// uploaded, and has it throw an unfinished upload away.
func TestAdminLooksIntoWhatIsStored(t *testing.T) {
	s := harness.Start(t)
	ctx := testContext(t, 2*time.Minute)
	c := harness.SDK(s.S3)
	var bucket struct {
		ID                         string
		UnfinishedMultipartUploads int
	}
	look := func() {
		t.Helper()
		s.AdminCall("GET", "/v2/GetBucketInfo?globalAlias="+harness.Bucket, nil, &bucket)
	}
	look()
	const small, large, open = "small one", "large/one", "open"
	for key, body := range map[string][]byte{small: content(1, 100), large: content(2, 5<<19)} {
		if err := put(ctx, c, key, body); err != nil {
			t.Fatal(err)
		}
	}
	up, err := c.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: aws.String(harness.Bucket), Key: aws.String(open)})
	if err != nil {
		t.Fatal(err)
	}
	part := &s3.UploadPartInput{
		Bucket: aws.String(harness.Bucket), Key: aws.String(open), UploadId: up.UploadId, PartNumber: aws.Int32(1), Body: strings.NewReader(string(content(3, 1<<20))),
	}
	if _, err := c.UploadPart(ctx, part); err != nil {
		t.Fatal(err)
	}
	var inspected struct {
		Versions []struct {
			Uploading, Inline bool
			Size              *int64
			Blocks            []struct{ Hash string }
		}
	}
	for _, want := range []struct {
		key               string
		uploading, inline bool
		blocks            int
	}{{small, false, true, 0}, {large, false, false, 3}, {open, true, false, 1}} {
		s.AdminCall("GET", "/v2/InspectObject?bucketId="+bucket.ID+"&key="+url.QueryEscape(want.key), nil, &inspected)
		if len(inspected.Versions) != 1 {
			t.Fatalf("%s: %+v", want.key, inspected)
		}
		if v := inspected.Versions[0]; v.Uploading != want.uploading || v.Inline != want.inline || len(v.Blocks) != want.blocks {
			t.Errorf("%s: %+v", want.key, v)
		}
		inspected.Versions = nil
	}
	for look(); bucket.UnfinishedMultipartUploads != 1; look() {
		if ctx.Err() != nil {
			t.Fatalf("%+v", bucket)
		}
		time.Sleep(50 * time.Millisecond) // counters follow, and tell nobody
	}
	var cleaned struct{ UploadsDeleted int }
	s.AdminCall("POST", "/v2/CleanupIncompleteUploads", anyJSON{"bucketId": bucket.ID, "olderThanSecs": 3600}, &cleaned)
	young := cleaned.UploadsDeleted
	s.AdminCall("POST", "/v2/CleanupIncompleteUploads", anyJSON{"bucketId": bucket.ID, "olderThanSecs": 0}, &cleaned)
	if young != 0 || cleaned.UploadsDeleted != 1 {
		t.Errorf("%d young uploads and %d old ones were thrown away", young, cleaned.UploadsDeleted)
	}
	left, err := c.ListMultipartUploads(ctx, &s3.ListMultipartUploadsInput{Bucket: aws.String(harness.Bucket)})
	if err != nil || len(left.Uploads) != 0 {
		t.Errorf("%v %v", left, err)
	}
	if body, err := get(ctx, c, large); err != nil || sum(body) != sum(content(2, 5<<19)) {
		t.Errorf("the clean-up hurt an object: %v", err)
	}
}

// TestAdminReachesEveryNode asks for what each service of a real server offers.
func TestAdminReachesEveryNode(t *testing.T) {
	s := harness.Start(t)
	var info struct {
		Success map[string]struct{ Service string }
		Error   map[string]string
	}
	s.AdminCall("GET", "/v2/GetNodeInfo?node=*", nil, &info)
	services := map[string]bool{}
	for _, n := range info.Success {
		services[n.Service] = true
	}
	if len(services) != 4 || len(info.Error) != 0 {
		t.Errorf("%+v", info)
	}
	var workers struct {
		Success map[string][]struct{ Name string }
	}
	s.AdminCall("POST", "/v2/ListWorkers?node=self", anyJSON{}, &workers)
	for id, list := range workers.Success {
		if info.Success[id].Service != "admin" || len(list) < 2 {
			t.Errorf("%+v", workers)
		}
	}
	resp, err := http.Get(s.Admin + "/v2/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	var document struct{ Paths anyJSON }
	if err != nil || json.Unmarshal(b, &document) != nil || len(document.Paths) < 49 {
		t.Errorf("%d %s", resp.StatusCode, b)
	}
}
