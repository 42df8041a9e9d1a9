// Package geo tests a cluster in three zones: real processes on hosts of their
// own, with what lies between them slow or cut.
package geo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"hangar/tests/harness"
	"hangar/tests/harness/geo"
	"hangar/tests/harness/netns"
)

// patience bounds what is awaited.
const patience = 60 * time.Second

func put(ctx context.Context, c *s3.Client, key, content string) error {
	_, err := c.PutObject(ctx, &s3.PutObjectInput{
		Bucket: aws.String(harness.Bucket), Key: aws.String(key), Body: bytes.NewReader([]byte(content)),
	})
	return err
}

func get(ctx context.Context, c *s3.Client, key string) (string, error) {
	out, err := c.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(harness.Bucket), Key: aws.String(key)})
	if err != nil {
		return "", err
	}
	defer out.Body.Close()
	b, err := io.ReadAll(out.Body)
	return string(b), err
}

// httpStatus is the status that an error of a client carries, 0 if none.
func httpStatus(err error) int {
	var e *awshttp.ResponseError
	if errors.As(err, &e) {
		return e.HTTPStatusCode()
	}
	return 0
}

// eventually tries f again until it succeeds.
func eventually(t *testing.T, what string, f func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		err := f(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: %v", what, err)
		case <-time.After(100 * time.Millisecond): // asks other processes
		}
	}
}

// impatient makes a client that shows failures, and soon.
func impatient(o *s3.Options) { o.Retryer = aws.NopRetryer{} }

func TestZones(t *testing.T) {
	began := time.Now()
	c := geo.Start(t, geo.Options{Link: netns.Link{Delay: 10 * time.Millisecond}, Clocks: true})
	t.Logf("the cluster served after %v", time.Since(began))
	reads := func(t *testing.T, zone int, key, want string) {
		t.Helper()
		eventually(t, "reading in "+c.Zone(zone), func(ctx context.Context) error {
			got, err := get(ctx, c.S3(zone), key)
			if err == nil && got != want {
				t.Errorf("zone %d reads %q, want %q", zone, got, want)
			}
			return err
		})
	}
	writes := func(t *testing.T, zone int, key, content string) {
		t.Helper()
		eventually(t, "writing in "+c.Zone(zone), func(ctx context.Context) error { return put(ctx, c.S3(zone), key, content) })
	}
	t.Run("quiet", func(t *testing.T) {
		if err := put(t.Context(), c.S3(1, impatient), "quiet", "1"); err != nil {
			t.Fatal(err)
		}
		for zone := 1; zone <= c.Zones; zone++ {
			reads(t, zone, "quiet", "1")
		}
	})
	t.Run("a zone alone", func(t *testing.T) {
		c.Net.Cut(c.Zone(3), netns.Everyone)
		defer c.Net.Heal()
		writes(t, 1, "alone", "2")
		reads(t, 2, "alone", "2")
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if got, err := get(short, c.S3(3, impatient), "quiet"); err == nil {
			t.Errorf("a zone without a majority reads %q", got)
		}
		c.Net.Heal()
		reads(t, 3, "alone", "2")
	})
	t.Run("NATS of a zone dies", func(t *testing.T) {
		c.Process("nats-1").Kill()
		writes(t, 1, "nats", "3")
		reads(t, 3, "nats", "3")
		c.Process("nats-1").Start()
		c.Process("nats-1").AwaitHealthy()
	})
	t.Run("metadata dies and blocks hang", func(t *testing.T) {
		c.Process("meta-2").Kill()
		c.Process("blocks-3").Pause()
		content := strings.Repeat("block", 20_000)
		writes(t, 2, "blocks", content)
		c.Process("blocks-3").Resume()
		c.Process("meta-2").Start()
		c.Process("meta-2").AwaitHealthy()
		reads(t, 3, "blocks", content)
	})
	t.Run("a clock jumps", func(t *testing.T) {
		p := c.Process("gateway-2")
		p.SetClock(-time.Hour)
		if err := put(t.Context(), c.S3(2, impatient), "clock", "4"); httpStatus(err) != http.StatusForbidden {
			t.Errorf("signed an hour ahead: %v", err)
		}
		if !strings.Contains(p.Output(), "WRONG ON PURPOSE") {
			t.Error("a process with a wrong clock does not say so")
		}
		p.SetClock(0)
		writes(t, 2, "clock", "5")
		reads(t, 1, "clock", "5")
	})
	t.Run("far apart", func(t *testing.T) { farApart(t, c) })
}

// farApart: at 300 ms there and back nothing fails, and nothing is done twice. It
// begins once everybody is back at the NATS server of its zone that was killed
// before: moving costs the requests under way their answers.
func farApart(t *testing.T, c *geo.Cluster) {
	home := "connected to NATS again\" service="
	at := "url=nats://" + c.Process("nats-1").Host.Addr().String()
	eventually(t, "going back to NATS in "+c.Zone(1), func(context.Context) error {
		for _, name := range []string{"admin-1", "meta-1", "blocks-1", "gateway-1"} {
			out := c.Process(name).Output()
			if last := strings.LastIndex(out, home); last < 0 || !strings.Contains(out[last:], at) {
				return fmt.Errorf("%s is not back", name)
			}
		}
		return nil
	})
	c.Net.LinkZones(netns.Link{Delay: 150 * time.Millisecond, Jitter: 20 * time.Millisecond})
	client := c.S3(1, impatient)
	ctx := t.Context()
	for i := range 5 {
		key := fmt.Sprintf("far/%d", i)
		in := &s3.PutObjectInput{Bucket: bucket, Key: &key, IfNoneMatch: aws.String("*"), Body: strings.NewReader(key)}
		if _, err := client.PutObject(ctx, in); err != nil {
			t.Fatalf("creating %s: %v", key, err) // 412 would mean that it was done twice
		}
		in.Body = strings.NewReader(key)
		if _, err := client.PutObject(ctx, in); httpStatus(err) != http.StatusPreconditionFailed {
			t.Errorf("creating %s again: %v", key, err)
		}
		if got, err := get(ctx, c.S3(2, impatient), key); err != nil || got != key {
			t.Errorf("zone 2 reads %q, %v", got, err)
		}
	}
	if err := put(ctx, client, "far/large", strings.Repeat("large", 500_000)); err != nil {
		t.Error(err)
	}
	if _, err := client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: bucket, Key: aws.String("far/0")}); err != nil {
		t.Error(err)
	}
	out, err := client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: bucket, Prefix: aws.String("far/")})
	if err != nil || len(out.Contents) != 5 {
		t.Errorf("listed %+v, %v", out, err)
	}
	name := "far-away"
	if _, err := client.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &name}); err != nil {
		t.Error(err)
	}
	if _, err := client.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: &name}); err != nil {
		t.Error(err)
	}
}
