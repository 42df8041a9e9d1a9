// Package geo tests a cluster in three zones: real processes on hosts of their
// own, with what lies between them slow or cut.
package geo

import (
	"bytes"
	"context"
	"errors"
	"io"
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

func TestZones(t *testing.T) {
	began := time.Now()
	c := geo.Start(t, geo.Options{Link: netns.Link{Delay: 10 * time.Millisecond}})
	t.Logf("the cluster served after %v", time.Since(began))
	ctx := t.Context()
	if err := put(ctx, c.S3(1), "a", "from zone 1"); err != nil {
		t.Fatal(err)
	}
	if got, err := get(ctx, c.S3(3), "a"); err != nil || got != "from zone 1" {
		t.Fatalf("zone 3 reads %q, %v", got, err)
	}
}
