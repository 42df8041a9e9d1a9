package sigv4

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"hangar/shared/fault"
)

const (
	testKey    = "HK0123456789"
	testSecret = "hush/+secret"
	testRegion = "hangar"
	testHost   = "127.0.0.1:3900"
)

var (
	testTime   = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	testSigner = Signer{testKey, testSecret, testRegion, "s3"}
)

func newVerifier(region string, now time.Time, secrets map[string]string) *Verifier {
	return &Verifier{Region: region, Service: "s3", Now: func() time.Time { return now },
		Secret: func(keyID string) (string, error) {
			if secret, ok := secrets[keyID]; ok {
				return secret, nil
			}
			return "", fault.New(fault.NotFound, "no such key")
		}}
}

func testVerifier(now time.Time) *Verifier {
	return newVerifier(testRegion, now, map[string]string{testKey: testSecret, "other": "other secret"})
}

func plainRequest() *Request {
	return &Request{Method: "PUT", RawPath: "/bucket/a%20b", RawQuery: "x-id=PutObject&partNumber=1", Host: testHost,
		Headers: Headers{{"Host", testHost}, {"X-Amz-Meta-Note", "one  two"}, {"Range", "bytes=0-9"}}}
}

func signedRequest() *Request {
	r := plainRequest()
	testSigner.Sign(r, UnsignedPayload, testTime)
	return r
}

func presignedRequest() *Request {
	r := plainRequest()
	testSigner.Presign(r, time.Hour, testTime)
	return r
}

func set(r *Request, name, value string) {
	for i := range r.Headers {
		if strings.EqualFold(r.Headers[i].Name, name) {
			r.Headers[i].Value = value
			return
		}
	}
	r.Headers = append(r.Headers, Header{name, value})
}

func remove(r *Request, name string) {
	r.Headers = slices.DeleteFunc(r.Headers, func(h Header) bool { return strings.EqualFold(h.Name, name) })
}

func replace(r *Request, name, old, with string) {
	value, _ := r.Headers.Get(name)
	set(r, name, strings.Replace(value, old, with, 1))
}

func TestRefusals(t *testing.T) {
	header := func(change func(r *Request)) *Request { r := signedRequest(); change(r); return r }
	query := func(change func(r *Request)) *Request { r := presignedRequest(); change(r); return r }
	param := func(old, with string) *Request {
		return query(func(r *Request) {
			changed := strings.Replace(r.RawQuery, old, with, 1)
			if changed == r.RawQuery {
				t.Errorf("nothing to replace: %s", old)
			}
			r.RawQuery = changed
		})
	}
	auth := func(old, with string) *Request {
		return header(func(r *Request) { replace(r, "authorization", old, with) })
	}
	signedAs := func(s Signer) *Request {
		r := plainRequest()
		s.Sign(r, UnsignedPayload, testTime)
		return r
	}
	for _, tc := range []struct {
		name string
		r    *Request
		want error
		kind fault.Kind
	}{
		{"anonymous", plainRequest(), ErrNoCredentials, fault.Internal},
		{"unknown key", signedAs(Signer{"nobody", testSecret, testRegion, "s3"}), ErrInvalidAccessKeyID, fault.Denied},
		{"wrong secret", signedAs(Signer{testKey, "guess", testRegion, "s3"}), ErrSignatureDoesNotMatch, fault.Denied},
		{"another key's secret", signedAs(Signer{"other", testSecret, testRegion, "s3"}), ErrSignatureDoesNotMatch, fault.Denied},
		{"region", signedAs(Signer{testKey, testSecret, "us-east-1", "s3"}), ErrAuthorizationHeaderMalformed, fault.Invalid},
		{"service", signedAs(Signer{testKey, testSecret, testRegion, "k2v"}), ErrAuthorizationHeaderMalformed, fault.Invalid},
		{"two mechanisms", query(func(r *Request) { set(r, "authorization", "AWS4-HMAC-SHA256 x") }), ErrInvalidArgument, fault.Invalid},
		{"v2 header", header(func(r *Request) { set(r, "authorization", "AWS key:sig") }), ErrInvalidRequest, fault.Invalid},
		{"v2 query", &Request{Method: "GET", RawPath: "/", RawQuery: "AWSAccessKeyId=a&Expires=1&Signature=b"}, ErrInvalidRequest, fault.Invalid},
		{"basic", header(func(r *Request) { set(r, "authorization", "Basic Zm9v") }), ErrInvalidArgument, fault.Invalid},
		{"empty authorization", header(func(r *Request) { set(r, "authorization", "") }), ErrInvalidArgument, fault.Invalid},
		{"ecdsa", auth("HMAC-SHA256", "ECDSA-P256-SHA256"), ErrNotImplemented, fault.NotImplemented},
		{"no fields", header(func(r *Request) { set(r, "authorization", "AWS4-HMAC-SHA256") }), ErrAuthorizationHeaderMalformed, fault.Invalid},
		{"field twice", auth("SignedHeaders=", "Credential=a, SignedHeaders="), ErrAuthorizationHeaderMalformed, fault.Invalid},
		{"unknown field", auth("SignedHeaders=", "Other=a, SignedHeaders="), ErrAuthorizationHeaderMalformed, fault.Invalid},
		{"no signature", auth(", Signature=", ", "), ErrAuthorizationHeaderMalformed, fault.Invalid},
		{"short scope", auth("/aws4_request", ""), ErrAuthorizationHeaderMalformed, fault.Invalid},
		{"terminator", auth("aws4_request", "aws5_request"), ErrAuthorizationHeaderMalformed, fault.Invalid},
		{"no key id", auth("="+testKey, "="), ErrAuthorizationHeaderMalformed, fault.Invalid},
		{"scope date", auth("/20260304/", "/20260303/"), ErrAuthorizationHeaderMalformed, fault.Invalid},
		{"host unsigned", auth("=host;", "="), ErrAccessDenied, fault.Denied},
		{"meta unsigned", auth(";x-amz-meta-note", ""), ErrAccessDenied, fault.Denied},
		{"upper case", auth(";range", ";Range"), ErrAuthorizationHeaderMalformed, fault.Invalid},
		{"empty signed name", auth(";range", ";"), ErrAuthorizationHeaderMalformed, fault.Invalid},
		{"too many signed", auth(";range", strings.Repeat(";range", 200)), ErrAuthorizationHeaderMalformed, fault.Invalid},
		{"range unsigned", auth(";range", ""), ErrSignatureDoesNotMatch, fault.Denied},
		{"signed header gone", header(func(r *Request) { remove(r, "range") }), ErrSignatureDoesNotMatch, fault.Denied},
		{"x-amz header added", header(func(r *Request) { set(r, "X-Amz-Acl", "public-read") }), ErrAccessDenied, fault.Denied},
		{"header value twice", header(func(r *Request) { r.Headers = append(r.Headers, Header{"range", "bytes=1-"}) }), ErrSignatureDoesNotMatch, fault.Denied},
		{"date twice", header(func(r *Request) { r.Headers = append(r.Headers, Header{"x-amz-date", "1"}) }), ErrInvalidArgument, fault.Invalid},
		{"authorization twice", header(func(r *Request) { r.Headers = append(r.Headers, Header{"authorization", "1"}) }), ErrInvalidArgument, fault.Invalid},
		{"host twice", header(func(r *Request) { r.Headers = append(r.Headers, Header{"host", "h"}) }), ErrInvalidArgument, fault.Invalid},
		{"no payload", header(func(r *Request) { remove(r, "x-amz-content-sha256") }), ErrInvalidRequest, fault.Invalid},
		{"bad payload", header(func(r *Request) { set(r, "x-amz-content-sha256", "abc") }), ErrInvalidArgument, fault.Invalid},
		{"ecdsa payload", header(func(r *Request) { set(r, "x-amz-content-sha256", "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD") }), ErrNotImplemented, fault.NotImplemented},
		{"token", header(func(r *Request) { set(r, "x-amz-security-token", "t") }), ErrInvalidToken, fault.Invalid},
		{"no date", header(func(r *Request) { remove(r, "x-amz-date") }), ErrAccessDenied, fault.Denied},
		{"bad date", header(func(r *Request) { set(r, "x-amz-date", "yesterday") }), ErrAccessDenied, fault.Denied},
		{"bad escape", header(func(r *Request) { r.RawQuery += "&a=%G0" }), ErrInvalidURI, fault.Invalid},
		{"many params", header(func(r *Request) { r.RawQuery = strings.Repeat("a&", 300) }), ErrInvalidURI, fault.Invalid},
		{"many headers", header(func(r *Request) { r.Headers = append(r.Headers, make(Headers, 300)...) }), ErrInvalidRequest, fault.Invalid},
		{"long path", header(func(r *Request) { r.RawPath = strings.Repeat("/a", 10_000) }), ErrInvalidURI, fault.Invalid},
		{"long authorization", header(func(r *Request) { set(r, "authorization", "AWS4-HMAC-SHA256 "+strings.Repeat("a", 10_000)) }), ErrAuthorizationHeaderMalformed, fault.Invalid},

		{"presigned: algorithm", param("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA512"), ErrAuthorizationQueryParameters, fault.Invalid},
		{"presigned: ecdsa", param("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"), ErrNotImplemented, fault.NotImplemented},
		{"presigned: no expiry", param("&X-Amz-Expires=3600", ""), ErrAuthorizationQueryParameters, fault.Invalid},
		{"presigned: no algorithm", param("X-Amz-Algorithm=AWS4-HMAC-SHA256", ""), ErrAuthorizationQueryParameters, fault.Invalid},
		{"presigned: twice", param("&X-Amz-Expires=3600", "&X-Amz-Expires=3600&X-Amz-Expires=3600"), ErrAuthorizationQueryParameters, fault.Invalid},
		{"presigned: never expires", param("Expires=3600", "Expires=604801"), ErrAuthorizationQueryParameters, fault.Invalid},
		{"presigned: zero expiry", param("Expires=3600", "Expires=0"), ErrAuthorizationQueryParameters, fault.Invalid},
		{"presigned: negative expiry", param("Expires=3600", "Expires=-1"), ErrAuthorizationQueryParameters, fault.Invalid},
		{"presigned: longer expiry", param("Expires=3600", "Expires=3601"), ErrSignatureDoesNotMatch, fault.Denied},
		{"presigned: region", param("%2Fhangar%2F", "%2Fmoon%2F"), ErrAuthorizationQueryParameters, fault.Invalid},
		{"presigned: date", param("X-Amz-Date=2026", "X-Amz-Date=x026"), ErrAuthorizationQueryParameters, fault.Invalid},
		{"presigned: x-amz header added", query(func(r *Request) { set(r, "X-Amz-Acl", "public-read") }), ErrAccessDenied, fault.Denied},
		{"presigned: token", query(func(r *Request) { r.RawQuery += "&X-Amz-Security-Token=t" }), ErrInvalidToken, fault.Invalid},
		{"presigned: parameter added", query(func(r *Request) { r.RawQuery += "&versionId=1" }), ErrSignatureDoesNotMatch, fault.Denied},
		{"presigned: method", query(func(r *Request) { r.Method = "DELETE" }), ErrSignatureDoesNotMatch, fault.Denied},
		{"presigned: host", query(func(r *Request) { r.Host = "elsewhere" }), ErrSignatureDoesNotMatch, fault.Denied},
	} {
		id, err := testVerifier(testTime).Verify(tc.r)
		if !errors.Is(err, tc.want) || fault.KindOf(err) != tc.kind || id != nil {
			t.Errorf("%s: got %v (%v), want %v (%v)", tc.name, err, fault.KindOf(err), tc.want, tc.kind)
		}
		if err != nil && strings.Contains(err.Error(), testSecret) {
			t.Errorf("%s: the error holds the secret", tc.name)
		}
	}
}

func TestRegionErrorNamesTheRegion(t *testing.T) {
	r := plainRequest()
	Signer{testKey, testSecret, "us-east-1", "s3"}.Sign(r, UnsignedPayload, testTime)
	_, err := testVerifier(testTime).Verify(r)
	var wrong *RegionError
	if !errors.As(err, &wrong) || wrong.Expected != testRegion || wrong.Got != "us-east-1" {
		t.Errorf("got %v", err)
	}
}

func TestTimes(t *testing.T) {
	for _, tc := range []struct {
		r    *Request
		off  time.Duration // of the server's clock
		want error
	}{
		{signedRequest(), MaxSkew, nil},
		{signedRequest(), -MaxSkew, nil},
		{signedRequest(), MaxSkew + time.Second, ErrRequestTimeTooSkewed},
		{signedRequest(), -MaxSkew - time.Second, ErrRequestTimeTooSkewed},
		{presignedRequest(), time.Hour, nil},
		{presignedRequest(), time.Hour + time.Second, ErrAccessDenied},
		{presignedRequest(), -MaxSkew, nil},
		{presignedRequest(), -MaxSkew - time.Second, ErrAccessDenied},
	} {
		if _, err := testVerifier(testTime.Add(tc.off)).Verify(tc.r); !errors.Is(err, tc.want) {
			t.Errorf("presigned %v, off by %v: got %v, want %v", strings.Contains(tc.r.RawQuery, "X-Amz"), tc.off, err, tc.want)
		}
	}
}

func TestDateHeader(t *testing.T) {
	for _, layout := range []string{"Mon, 02 Jan 2006 15:04:05 GMT", time.RFC1123Z, stampLayout} {
		r := plainRequest()
		set(r, "Date", testTime.Format(layout))
		testSigner.Sign(r, UnsignedPayload, testTime)
		// Sign adds x-amz-date; a client that uses Date signs without it.
		remove(r, "x-amz-date")
		var w scratch
		auth, _ := r.Headers.Get("authorization")
		auth = strings.Replace(auth, ";x-amz-date", "", 1)
		var c claim
		if err := c.parseAuthorization(auth); err != nil {
			t.Fatal(err)
		}
		c.stamp, c.payload = testTime.Format(stampLayout), UnsignedPayload
		w.signed = strings.Split(c.signedHeaders, ";")
		if err := w.parseQuery(r.RawQuery); err != nil {
			t.Fatal(err)
		}
		key := deriveKey(testSecret, c.date, c.region, c.service)
		set(r, "authorization", strings.Replace(auth, c.signature, w.signature(r, &c, &key, []byte(r.RawPath)).String(), 1))
		if _, err := testVerifier(testTime).Verify(r); err != nil {
			t.Errorf("%s: %v", layout, err)
		}
		set(r, "authorization", strings.Replace(auth, "date;", "", 1))
		if _, err := testVerifier(testTime).Verify(r); !errors.Is(err, ErrAccessDenied) {
			t.Errorf("%s, unsigned: %v", layout, err)
		}
	}
}

// TestTampering flips every bit of what a signature covers; none may pass.
func TestTampering(t *testing.T) {
	for _, make := range []func() *Request{signedRequest, presignedRequest} {
		v := testVerifier(testTime)
		if _, err := v.Verify(make()); err != nil {
			t.Fatal(err)
		}
		fields := func(r *Request) []*string {
			f := []*string{&r.Method, &r.RawPath, &r.RawQuery, &r.Host}
			for i := range r.Headers {
				if !strings.EqualFold(r.Headers[i].Name, "host") { // stands in r.Host
					f = append(f, &r.Headers[i].Value)
				}
			}
			return f
		}
		for i := range fields(make()) {
			for at := range len(*fields(make())[i]) {
				for bit := range 8 {
					r := make()
					field := fields(r)[i]
					b := []byte(*field)
					b[at] ^= 1 << bit
					if equivalent(r, field, string(b)) {
						continue
					}
					old := *field
					*field = string(b)
					if _, err := v.Verify(r); err == nil {
						t.Errorf("%q changed to %q passed", old, *field)
					}
				}
			}
		}
	}
}

// equivalent reports whether the changed field means the same as before: only
// escapes and the order or spelling of parameters can.
func equivalent(r *Request, field *string, changed string) bool {
	switch field {
	case &r.RawPath:
		a, errA := url.PathUnescape(*field)
		b, errB := url.PathUnescape(changed)
		return errA == nil && errB == nil && a == b
	case &r.RawQuery:
		a, errA := url.ParseQuery(*field)
		b, errB := url.ParseQuery(changed)
		return errA == nil && errB == nil && a.Encode() == b.Encode()
	}
	return false
}

func TestStreamingIdentity(t *testing.T) {
	for payload, want := range map[string]Payload{
		StreamingSignedPayload:        PayloadStreamSigned,
		StreamingSignedPayloadTrailer: PayloadStreamSignedTrailer,
		StreamingUnsignedTrailer:      PayloadStreamUnsignedTrailer,
		UnsignedPayload:               PayloadUnsigned,
		HashPayload([]byte("x")):      PayloadHash,
	} {
		r := plainRequest()
		chain := testSigner.Sign(r, payload, testTime)
		id, err := testVerifier(testTime).Verify(r)
		if err != nil {
			t.Fatal(err)
		}
		if id.Payload != want || (id.Chain != nil) != want.Signed() {
			t.Errorf("%s: %+v", payload, id)
		}
		if id.Chain != nil {
			if a, b := id.Chain.Chunk([32]byte{1}), chain.Chunk([32]byte{1}); a != b {
				t.Errorf("%s: the chains differ", payload)
			}
		}
	}
}

func TestReplacedSecret(t *testing.T) {
	secret := testSecret
	v := testVerifier(testTime)
	v.Secret = func(string) (string, error) { return secret, nil }
	if _, err := v.Verify(signedRequest()); err != nil {
		t.Fatal(err)
	}
	secret = "new"
	if _, err := v.Verify(signedRequest()); !errors.Is(err, ErrSignatureDoesNotMatch) {
		t.Errorf("the old secret still opens: %v", err)
	}
	secret = ""
	r := plainRequest()
	Signer{testKey, "", testRegion, "s3"}.Sign(r, UnsignedPayload, testTime)
	if _, err := v.Verify(r); !errors.Is(err, ErrInvalidAccessKeyID) {
		t.Errorf("an empty secret opens: %v", err)
	}
}

func TestSecretFailurePassesOn(t *testing.T) {
	v := testVerifier(testTime)
	v.Secret = func(string) (string, error) { return "", fault.New(fault.Unavailable, "no mirror yet") }
	if _, err := v.Verify(signedRequest()); !fault.Is(err, fault.Unavailable) {
		t.Errorf("got %v", err)
	}
}

func TestKeyCacheIsBounded(t *testing.T) {
	var k keyCache
	for i := range maxCachedKeys + 10 {
		k.get(fmt.Sprint(i), "secret", "20260304", testRegion, "s3")
	}
	if len(k.keys) != maxCachedKeys {
		t.Errorf("%d keys cached", len(k.keys))
	}
	if got := k.get("1", "secret", "20260304", testRegion, "s3"); got != deriveKey("secret", "20260304", testRegion, "s3") {
		t.Error("wrong key")
	}
}

// TestConcurrentUse mixes good and bad requests: no verification may see the
// memory of another.
func TestConcurrentUse(t *testing.T) {
	v := testVerifier(testTime)
	var running sync.WaitGroup
	for i := range 8 {
		running.Go(func() {
			for range 50 {
				r := plainRequest()
				r.RawPath = fmt.Sprintf("/bucket/%d", i)
				testSigner.Sign(r, UnsignedPayload, testTime)
				if i%2 == 1 {
					r.RawPath += "x"
				}
				if _, err := v.Verify(r); (err == nil) != (i%2 == 0) {
					t.Errorf("%s: %v", r.RawPath, err)
				}
			}
		})
	}
	running.Wait()
}

func FuzzVerify(f *testing.F) {
	for _, r := range []*Request{signedRequest(), presignedRequest(), plainRequest()} {
		auth, _ := r.Headers.Get("authorization")
		stamp, _ := r.Headers.Get("x-amz-date")
		f.Add(r.RawPath, r.RawQuery, auth, stamp)
	}
	v := testVerifier(testTime)
	v.Secret = func(string) (string, error) { return "not the one that signed", nil }
	f.Fuzz(func(t *testing.T, path, query, auth, stamp string) {
		r := &Request{Method: "GET", RawPath: path, RawQuery: query, Host: testHost, Headers: Headers{
			{"Authorization", auth}, {"X-Amz-Date", stamp}, {"X-Amz-Content-Sha256", UnsignedPayload}}}
		if id, err := v.Verify(r); err == nil || id != nil {
			t.Errorf("passed: %+v", id)
		}
		r.Headers = nil
		if id, err := v.Verify(r); err == nil || id != nil {
			t.Errorf("passed: %+v", id)
		}
	})
}

// FuzzCanonicalQuery holds the canonical form against net/url's reading.
func FuzzCanonicalQuery(f *testing.F) {
	f.Add("b=2&a=1&a=0&c&d=&=e&%61=+%20%2B&&x=y=z")
	f.Add("a-b=1&a=2&a.b=3&list-type=2&prefix=%C3%A9")
	f.Fuzz(func(t *testing.T, raw string) {
		if strings.Contains(raw, ";") { // net/url refuses it
			return
		}
		var s scratch
		err := s.parseQuery(raw)
		want, wantErr := url.ParseQuery(raw)
		if err != nil {
			if wantErr == nil && strings.Count(raw, "&") < maxParams {
				t.Fatalf("%q refused: %v", raw, err)
			}
			return
		}
		if wantErr != nil {
			t.Fatalf("%q accepted; net/url says %v", raw, wantErr)
		}
		n := 0
		for name, values := range want {
			n += len(values)
			if name == encodeParam(name) {
				if got, count := s.param(name); count != len(values) || !slices.Contains(values, got) {
					t.Fatalf("%q: %q is %q ×%d, want %q", raw, name, got, count, values)
				}
			}
		}
		if n != len(s.params) {
			t.Fatalf("%q: %d parameters, want %d", raw, len(s.params), n)
		}
		for i := 1; i < len(s.params); i++ {
			a, b := s.params[i-1], s.params[i]
			an, bn := string(s.name(a)), string(s.name(b))
			if an > bn || an == bn && string(s.value(a)) > string(s.value(b)) {
				t.Fatalf("%q: not sorted", raw)
			}
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	for name, r := range map[string]*Request{"header": signedRequest(), "presigned": presignedRequest()} {
		b.Run(name, func(b *testing.B) {
			v := testVerifier(testTime)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Verify(r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
