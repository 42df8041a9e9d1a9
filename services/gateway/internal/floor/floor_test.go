package floor

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"
)

func TestFloor(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- Serve(ctx, ln, Options{AccessKey: "AKIAFLOOR", SecretKey: "secret", Bucket: "bench", Region: "hangar", Log: slog.New(slog.DiscardHandler)})
	}()
	h := &http.Client{Transport: &http.Transport{}}
	c := sdk.New(sdk.Options{BaseEndpoint: aws.String("http://" + ln.Addr().String()), Region: "hangar", UsePathStyle: true, HTTPClient: h,
		Credentials: credentials.NewStaticCredentialsProvider("AKIAFLOOR", "secret", "")})
	bucket, key := aws.String("bench"), aws.String("k")
	if _, err := c.PutObject(ctx, &sdk.PutObjectInput{Bucket: bucket, Key: key, Body: strings.NewReader(strings.Repeat("x", 3_000_000))}); err != nil {
		t.Fatal(err)
	}
	got, err := c.GetObject(ctx, &sdk.GetObjectInput{Bucket: bucket, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, got.Body); n != 3_000_000 || err != nil {
		t.Errorf("got %d bytes, %v", n, err)
	}
	got.Body.Close()
	keys, last := 0, ""
	for pages := sdk.NewListObjectsV2Paginator(c, &sdk.ListObjectsV2Input{Bucket: bucket, Prefix: aws.String("p/")}); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range page.Contents {
			if *o.Key <= last {
				t.Fatalf("%q follows %q", *o.Key, last)
			}
			last, keys = *o.Key, keys+1
		}
	}
	if keys != syntheticKeys {
		t.Errorf("listed %d keys, want %d", keys, syntheticKeys)
	}
	h.CloseIdleConnections()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestItems: the floor of K2V takes what is signed for it and nothing else.
func TestItems(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- ServeItems(ctx, ln, Options{AccessKey: "AKIAFLOOR", SecretKey: "secret", Bucket: "bench", Region: "hangar", Log: slog.New(slog.DiscardHandler)})
	}()
	h := &http.Client{Transport: &http.Transport{}}
	ask := func(service, method, target, body string) (int, string) {
		r, err := http.NewRequestWithContext(ctx, method, "http://"+ln.Addr().String()+target, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD")
		who := aws.Credentials{AccessKeyID: "AKIAFLOOR", SecretAccessKey: "secret"}
		if err := v4.NewSigner().SignHTTP(ctx, who, r, "UNSIGNED-PAYLOAD", service, "hangar", time.Now()); err != nil {
			t.Fatal(err)
		}
		resp, err := h.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(b)
	}
	for _, c := range []struct {
		service, method, target string
		status, items           int
	}{
		{"k2v", http.MethodPut, "/bench/p?sort_key=s", http.StatusNoContent, 0},
		{"k2v", http.MethodPost, "/bench", http.StatusNoContent, 0},
		{"k2v", http.MethodGet, "/bench/p?sort_key=s", http.StatusOK, 0},
		{"k2v", http.MethodPost, "/bench?search=", http.StatusOK, searchItems},
		{"s3", http.MethodGet, "/bench/p?sort_key=s", http.StatusForbidden, 0},
	} {
		status, body := ask(c.service, c.method, c.target, "content")
		if status != c.status || strings.Count(body, `"sk"`) != c.items {
			t.Errorf("%s %s for %s: %d, %.100q", c.method, c.target, c.service, status, body)
		}
	}
	h.CloseIdleConnections()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
