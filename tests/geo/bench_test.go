package geo

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"hangar/tests/harness"
	"hangar/tests/harness/geo"
	"hangar/tests/harness/netns"
)

// listed is how many keys the listing shows.
const listed = 20

// BenchmarkRequests measures small requests, one at a time, from a client
// beside the gateway of zone 1 of three, in round trips between zones. See
// docs/operations/geo.md.
func BenchmarkRequests(b *testing.B) {
	for _, l := range []netns.Link{
		{Delay: 50 * time.Millisecond},
		{Delay: 50 * time.Millisecond, Jitter: 10 * time.Millisecond},
		{Delay: 150 * time.Millisecond},
	} {
		name := fmt.Sprintf("rtt=%v", 2*l.Delay)
		if l.Jitter > 0 {
			name += fmt.Sprintf("±%v", 2*l.Jitter)
		}
		b.Run(name, func(b *testing.B) { benchmarkRequests(b, l) })
	}
}

func benchmarkRequests(b *testing.B, l netns.Link) {
	c := geo.Start(b, geo.Options{Link: l})
	client := c.S3(1, func(o *s3.Options) { o.Retryer = aws.NopRetryer{} }) // failures show
	if err := prepare(b.Context(), client); err != nil {
		b.Fatal(err)
	}
	for _, r := range requests {
		b.Run(r.name, func(b *testing.B) {
			took := make([]time.Duration, 0, b.N)
			for i := range b.N {
				key := fmt.Sprintf("%s/%d/%d", r.name, b.N, i)
				if r.before != nil {
					if err := r.before(b.Context(), client, key); err != nil {
						b.Fatal(err)
					}
				}
				began := time.Now()
				if err := r.do(b.Context(), client, key); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(began))
			}
			slices.Sort(took)
			rtt := float64(2 * l.Delay)
			b.ReportMetric(0, "ns/op") // round trips say it
			b.ReportMetric(float64(took[len(took)/2])/rtt, "p50-rtt")
			b.ReportMetric(float64(took[len(took)*9/10])/rtt, "p90-rtt")
			b.ReportMetric(float64(took[len(took)-1])/rtt, "max-rtt")
		})
	}
}

// prepare makes what is listed, and opens the connection.
func prepare(ctx context.Context, c *s3.Client) error {
	for i := range listed {
		if err := put(ctx, c, fmt.Sprintf("listed/%d", i), "content"); err != nil {
			return err
		}
	}
	return nil
}

var bucket = aws.String(harness.Bucket)

func before(ctx context.Context, c *s3.Client, key string) error { return put(ctx, c, key, "content") }

var requests = []struct {
	name       string
	before, do func(ctx context.Context, c *s3.Client, key string) error
}{
	{"PutObject", nil, before},
	{"GetObject", before, func(ctx context.Context, c *s3.Client, key string) error {
		got, err := get(ctx, c, key)
		if err == nil && got != "content" {
			err = fmt.Errorf("read %q", got)
		}
		return err
	}},
	{"HeadObject", before, func(ctx context.Context, c *s3.Client, key string) error {
		_, err := c.HeadObject(ctx, &s3.HeadObjectInput{Bucket: bucket, Key: &key})
		return err
	}},
	{"DeleteObject", before, func(ctx context.Context, c *s3.Client, key string) error {
		_, err := c.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: bucket, Key: &key})
		return err
	}},
	{"ListObjectsV2", nil, func(ctx context.Context, c *s3.Client, _ string) error {
		out, err := c.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: bucket, Prefix: aws.String("listed/")})
		if err == nil && len(out.Contents) != listed {
			err = fmt.Errorf("listed %d keys", len(out.Contents))
		}
		return err
	}},
	{"ListBuckets", nil, func(ctx context.Context, c *s3.Client, _ string) error {
		_, err := c.ListBuckets(ctx, &s3.ListBucketsInput{})
		return err
	}},
	{"PutIfNoneMatch", nil, func(ctx context.Context, c *s3.Client, key string) error {
		_, err := c.PutObject(ctx, &s3.PutObjectInput{
			Bucket: bucket, Key: &key, IfNoneMatch: aws.String("*"), Body: strings.NewReader("content"),
		})
		return err
	}},
	{"PutObject64K", nil, func(ctx context.Context, c *s3.Client, key string) error {
		_, err := c.PutObject(ctx, &s3.PutObjectInput{Bucket: bucket, Key: &key, Body: bytes.NewReader(make([]byte, 64<<10))})
		return err
	}},
	{"DeleteObjects", before, func(ctx context.Context, c *s3.Client, key string) error {
		out, err := c.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: bucket, Delete: &types.Delete{
			Objects: []types.ObjectIdentifier{{Key: &key}},
		}})
		if err == nil && len(out.Errors) > 0 {
			err = fmt.Errorf("%s", *out.Errors[0].Code)
		}
		return err
	}},
	{"GetMissing", nil, func(ctx context.Context, c *s3.Client, key string) error {
		if _, err := get(ctx, c, key); httpStatus(err) != http.StatusNotFound {
			return fmt.Errorf("a key that does not exist: %w", err)
		}
		return nil
	}},
}
