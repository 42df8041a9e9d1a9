package sigv4

import (
	"bufio"
	"bytes"
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// nastyKeys are what clients do to paths.
var nastyKeys = []string{
	"plain", "a b", "a+b", "a%b", "a%2Fb", "a%20b", "//", "/lead", "trail/", "a//b", "a/./b", "a/../b", "..", ".",
	"*~'()!$&,;=:@", "[]{}|\\^`\"<>#?", "ümläut", "日本語/キー", "\x01\x7f", "emoji 🎉", "é",
	"a=b&c", "+%+ %25", "-_.~",
}

var nastyQueries = []url.Values{
	{},
	{"acl": {""}},
	{"prefix": {"a b+c%/é"}, "delimiter": {"/"}, "list-type": {"2"}},
	{"a": {"2", "1", ""}, "a-b": {"x"}, "A": {"y"}},
	{"response-content-disposition": {`attachment; filename="a*b'c~.txt"`}},
}

var sdkCredentials = aws.Credentials{AccessKeyID: testKey, SecretAccessKey: testSecret}

// wireRequest is what a server reads when the request is sent.
func wireRequest(t *testing.T, r *http.Request) *Request {
	t.Helper()
	var wire bytes.Buffer
	if err := r.Write(&wire); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(&wire)
	lines.Scan()
	method, rest, _ := strings.Cut(lines.Text(), " ")
	target, _, _ := strings.Cut(rest, " HTTP/1.1")
	out := &Request{Method: method}
	out.RawPath, out.RawQuery, _ = strings.Cut(target, "?")
	for lines.Scan() && lines.Text() != "" {
		name, value, _ := strings.Cut(lines.Text(), ":")
		out.Headers = append(out.Headers, Header{name, strings.TrimPrefix(value, " ")})
	}
	out.Host, _ = out.Headers.Get("host")
	return out
}

// sdkRequest is a request for a key, its path escaped as the S3 client does or,
// if loose, as net/url does.
func sdkRequest(t *testing.T, key string, query url.Values, loose bool) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://"+testHost, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.URL.Path = "/bucket/" + key
	if !loose {
		r.URL.RawPath = EncodePath(r.URL.Path)
	}
	r.URL.RawQuery = query.Encode()
	r.Header.Set("X-Amz-Meta-Two", " a   b ")
	r.Header.Add("X-Amz-Meta-Many", "1")
	r.Header.Add("X-Amz-Meta-Many", "2")
	r.Header.Set("Content-Type", "text/plain; charset=utf-8")
	return r
}

func TestSDKSigner(t *testing.T) {
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	v := testVerifier(testTime)
	for _, key := range nastyKeys {
		for _, query := range nastyQueries {
			for _, loose := range []bool{false, true} {
				r := sdkRequest(t, key, query, loose)
				r.Header.Set("X-Amz-Content-Sha256", emptySHA256)
				if err := signer.SignHTTP(context.Background(), sdkCredentials, r, emptySHA256, "s3", testRegion, testTime); err != nil {
					t.Fatal(err)
				}
				w := wireRequest(t, r)
				if _, err := v.Verify(w); err != nil {
					t.Errorf("key %q (loose %v), query %q: %v", key, loose, query.Encode(), err)
				}
				w.RawPath += "x"
				if _, err := v.Verify(w); err == nil {
					t.Errorf("key %q: a longer path passed", key)
				}

				r = sdkRequest(t, key, query, loose)
				values := r.URL.Query()
				values.Set("X-Amz-Expires", "60")
				r.URL.RawQuery = values.Encode()
				signed, headers, err := signer.PresignHTTP(context.Background(), sdkCredentials, r, UnsignedPayload, "s3", testRegion, testTime)
				if err != nil {
					t.Fatal(err)
				}
				u, err := url.Parse(signed)
				if err != nil {
					t.Fatal(err)
				}
				r.URL, r.Header = u, headers
				if id, err := v.Verify(wireRequest(t, r)); err != nil || !id.Presigned {
					t.Errorf("presigned, key %q (loose %v), query %q: %v", key, loose, query.Encode(), err)
				}
			}
		}
	}
}

// TestSignerAgreesWithSDK holds our own Signer against the SDK's.
func TestSignerAgreesWithSDK(t *testing.T) {
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	for _, key := range nastyKeys {
		r := sdkRequest(t, key, nastyQueries[2], false)
		r.Header.Set("X-Amz-Content-Sha256", UnsignedPayload)
		if err := signer.SignHTTP(context.Background(), sdkCredentials, r, UnsignedPayload, "s3", testRegion, testTime); err != nil {
			t.Fatal(err)
		}
		ours := wireRequest(t, r)
		want, _ := ours.Headers.Get("authorization")
		for _, name := range []string{"authorization", "x-amz-date", "x-amz-content-sha256", "user-agent"} {
			remove(ours, name)
		}
		testSigner.Sign(ours, UnsignedPayload, testTime)
		if got, _ := ours.Headers.Get("authorization"); got != want {
			t.Errorf("key %q:\n got %s\nwant %s", key, got, want)
		}
	}
}
