package e2e

import (
	"bytes"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"hangar/tests/harness"
)

// TestClusterSurvivesANodeOfEach: three copies over real processes and NATS;
// writes through one gateway are read through the other, with one metadata
// and one block process killed.
func TestClusterSurvivesANodeOfEach(t *testing.T) {
	c := harness.StartCluster(t, "--meta", "3", "--blocks", "3", "--gateways", "2")
	ctx := testContext(t, 3*time.Minute)
	one, two := harness.SDK(c.S3[0]), harness.SDK(c.S3[1])
	sizes := []int{0, 1000, 100 << 10, 3<<20 + 11}
	check := func(stage string, n int) {
		t.Helper()
		for i := range n {
			size := sizes[i%len(sizes)]
			b, err := get(ctx, two, fmt.Sprint("obj/", i))
			if err != nil || !bytes.Equal(b, content(uint64(i), size)) {
				t.Fatalf("%s: object %d: %d bytes, %v", stage, i, len(b), err)
			}
		}
	}
	write := func(stage string, from, to int) {
		t.Helper()
		for i := from; i < to; i++ {
			if err := put(ctx, one, fmt.Sprint("obj/", i), content(uint64(i), sizes[i%len(sizes)])); err != nil {
				t.Fatalf("%s: object %d: %v", stage, i, err)
			}
		}
	}
	write("calm", 0, 16)
	check("calm", 16)
	c.Signal("meta-2", syscall.SIGKILL)
	c.Signal("blocks-3", syscall.SIGKILL)
	check("one of each dead", 16)
	write("one of each dead", 16, 32)
	check("one of each dead", 32)
	out, err := two.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: aws.String(harness.Bucket), Prefix: aws.String("obj/")})
	if err != nil || len(out.Contents) != 32 {
		t.Fatalf("listed %d of 32, %v", len(out.Contents), err)
	}
	var health struct{ Status string }
	for deadline := time.Now().Add(20 * time.Second); health.Status != "degraded"; {
		if err := harness.AdminCall(c.Admin, "GET", "/v2/GetClusterHealth", nil, &health); err != nil || time.Now().After(deadline) {
			t.Fatalf("health is %q, %v", health.Status, err)
		}
		time.Sleep(100 * time.Millisecond) // polls another process
	}
	// A second node of the same kind takes the quorum away: writes are refused
	// and say so, nothing hangs for ever.
	c.Signal("meta-3", syscall.SIGKILL)
	begin := time.Now()
	err = put(ctx, harness.SDK(c.S3[0], noRetry), "no-quorum", []byte("x"))
	if code(err) != "ServiceUnavailable" && code(err) != "SlowDown" {
		t.Errorf("a write without a quorum: %v", err)
	}
	if took := time.Since(begin); took > 40*time.Second {
		t.Errorf("a write without a quorum took %v", took)
	}
}
