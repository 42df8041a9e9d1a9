package e2e

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"hangar/tests/harness"
)

func TestSignatureRefusals(t *testing.T) {
	s := sharedServer(t)
	key := uniqueKey(t)
	for _, c := range []struct {
		name   string
		spoil  func(w *wireRequest)
		status int
		code   string
	}{
		{"clock 20 minutes behind", func(w *wireRequest) { w.at = time.Now().Add(-20 * time.Minute) }, 403, "RequestTimeTooSkewed"},
		{"clock 20 minutes ahead", func(w *wireRequest) { w.at = time.Now().Add(20 * time.Minute) }, 403, "RequestTimeTooSkewed"},
		{"another region", func(w *wireRequest) { w.region = "us-east-1" }, 400, "AuthorizationHeaderMalformed"},
		{"unknown key", func(w *wireRequest) { w.keyID, w.secret = "GKunknown", "x" }, 403, "InvalidAccessKeyId"},
		{"wrong secret", func(w *wireRequest) { w.keyID, w.secret = harness.AccessKey, "x" }, 403, "SignatureDoesNotMatch"},
		{"session token", func(w *wireRequest) { w.headers = [][2]string{{"x-amz-security-token", "x"}} }, 400, "InvalidToken"},
		{"two authorizations", func(w *wireRequest) {
			w.unsignedHeaders = [][2]string{{"authorization", "AWS4-HMAC-SHA256 Credential=x"}}
		}, 400, "InvalidArgument"},
	} {
		w := &wireRequest{method: "PUT", target: objectPath(key), body: []byte("x")}
		c.spoil(w)
		a := w.send(t, s.S3)
		a.want(t, c.name, c.status, c.code)
		if w.region != "" && !strings.Contains(a.text, "<Region>"+harness.Region+"</Region>") {
			t.Errorf("the answer does not name the right region: %s", a.text)
		}
	}
	request(t, s, "HEAD", objectPath(key), "").want(t, "afterwards", 404, "")
}

// TestPresignedRefusals: a presigned URL does what was signed, and until then.
func TestPresignedRefusals(t *testing.T) {
	s := sharedServer(t)
	ctx := testContext(t, time.Minute)
	c := harness.SDK(s.S3)
	key := uniqueKey(t)
	if err := put(ctx, c, key, []byte("secret")); err != nil {
		t.Fatal(err)
	}
	presign := func(expires time.Duration) string {
		out, err := s3.NewPresignClient(c).PresignGetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(harness.Bucket), Key: aws.String(key)},
			s3.WithPresignExpires(expires))
		if err != nil {
			t.Fatal(err)
		}
		return out.URL
	}
	url := presign(time.Minute)
	if status, body := fetch(t, ctx, http.MethodGet, url); status != 200 || body != "secret" {
		t.Fatalf("%d %s", status, body)
	}
	expiring := presign(time.Second)
	for name, bad := range map[string]string{
		"tampered expiry":    strings.Replace(url, "X-Amz-Expires=60", "X-Amz-Expires=600", 1),
		"added parameter":    url + "&response-content-type=text/html",
		"another key":        strings.Replace(url, key, key+"x", 1),
		"tampered signature": url[:len(url)-1] + map[bool]string{true: "1", false: "0"}[url[len(url)-1] == '0'],
		"too long a life":    strings.Replace(url, "X-Amz-Expires=60", "X-Amz-Expires=604801", 1),
		"no signature":       url[:strings.Index(url, "&X-Amz-Signature")],
		"another date":       strings.Replace(url, "X-Amz-Date=2", "X-Amz-Date=1", 1),
	} {
		if bad == url {
			t.Fatalf("%s: nothing was changed in %s", name, url)
		}
		status, body := fetch(t, ctx, http.MethodGet, bad)
		if status != 403 && status != 400 || !strings.Contains(body, "<Code>") || strings.Contains(body, "secret") {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
	if status, body := fetch(t, ctx, http.MethodDelete, url); status != 403 || !strings.Contains(body, "SignatureDoesNotMatch") {
		t.Errorf("DELETE with a URL for GET: %d %s", status, body)
	}
	for deadline := time.Now().Add(10 * time.Second); ; {
		status, body := fetch(t, ctx, http.MethodGet, expiring)
		if status == 403 && strings.Contains(body, "<Code>AccessDenied</Code>") {
			break
		}
		if status != 200 || time.Now().After(deadline) {
			t.Fatalf("an expired URL: %d %s", status, body)
		}
		time.Sleep(100 * time.Millisecond) // the server's clock is what is awaited
	}
}

func fetch(t *testing.T, ctx context.Context, method, url string) (status int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
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
