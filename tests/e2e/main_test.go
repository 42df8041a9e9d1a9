// Package e2e uses Hangar as its users do: real processes, real clients.
package e2e

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	mrand "math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"

	"hangar/tests/harness"
)

// content returns n bytes that are the same for the same seed and do not
// compress.
func content(seed uint64, n int) []byte {
	var key [32]byte
	key[0], key[1], key[2], key[3] = byte(seed), byte(seed>>8), byte(seed>>16), byte(seed>>24)
	b := make([]byte, n)
	_, _ = mrand.NewChaCha8(key).Read(b) // never fails
	return b
}

func sum(b []byte) [32]byte { return sha256.Sum256(b) }

// code is the S3 error code of err, "" when it has none.
func code(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}

func put(ctx context.Context, c *s3.Client, key string, body []byte) error {
	_, err := c.PutObject(ctx, &s3.PutObjectInput{
		Bucket: aws.String(harness.Bucket), Key: aws.String(key), Body: strings.NewReader(string(body)),
	})
	return err
}

func get(ctx context.Context, c *s3.Client, key string) ([]byte, error) {
	out, err := c.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(harness.Bucket), Key: aws.String(key)})
	if err != nil {
		return nil, err
	}
	defer out.Body.Close()
	return io.ReadAll(out.Body)
}

func writeFile(t testing.TB, path string, b []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

// shared is one server that tests which do not harm it have in common.
var shared struct {
	once sync.Once
	dir  string
	s    *harness.Server
}

// sharedServer starts the common server on first use. The first test to ask
// pays for the start; TestMain stops it.
func sharedServer(t *testing.T) *harness.Server {
	t.Helper()
	shared.once.Do(func() { shared.s = harness.StartOn(mainT{t}, shared.dir) })
	if shared.s == nil {
		t.Fatal("the shared server did not start")
	}
	return shared.s
}

// mainT is a testing.TB whose clean-up waits for the end of all tests.
type mainT struct{ testing.TB }

// Logf and Errorf stand in for those of a test that may have ended.
func (mainT) Logf(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

func (m mainT) Errorf(format string, args ...any) {
	m.Logf(format, args...)
	failedAtEnd = true
}

var (
	atEnd       []func()
	failedAtEnd bool
)

func (mainT) Cleanup(f func()) { atEnd = append(atEnd, f) }

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "hangar-e2e-")
	if err != nil {
		panic(err)
	}
	shared.dir = dir
	code := m.Run()
	for _, f := range atEnd {
		f()
	}
	if failedAtEnd {
		code = max(code, 1)
	}
	_ = os.RemoveAll(dir) // a temporary directory left behind harms nobody
	os.Exit(code)
}

func testContext(t *testing.T, limit time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

// uniqueKey keeps tests on the shared server apart.
func uniqueKey(t *testing.T) string {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails
	return strings.ReplaceAll(t.Name(), "/", "-") + "-" + string("abcdefghijklmnop"[b[0]&15]) + string("abcdefghijklmnop"[b[1]&15])
}
