package s3_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"

	"hangar/services/gateway/internal/access"
	"hangar/services/gateway/internal/httpd"
	"hangar/services/gateway/internal/objects"
	"hangar/services/gateway/internal/s3"
	"hangar/shared/blockapi/blocktest"
	"hangar/shared/control"
	"hangar/shared/fault"
	"hangar/shared/metaapi/metatest"
	"hangar/shared/object"
)

const (
	region = "hangar"
	bucket = "photos"
	domain = "s3.localhost"
)

var (
	owner  = control.Key{ID: "GKOWNER00001", Secret: "owner-secret", AllowCreateBucket: true}
	reader = control.Key{ID: "GKREADER0001", Secret: "reader-secret"}
	nobody = control.Key{ID: "GKNOBODY0001", Secret: "nobody-secret"}
)

// directory is control state that a test can change.
type directory struct {
	mu      sync.Mutex
	keys    map[string]*control.Key
	buckets map[string]*control.Bucket
}

func newDirectory() *directory {
	return &directory{
		keys: map[string]*control.Key{owner.ID: &owner, reader.ID: &reader, nobody.ID: &nobody},
		buckets: map[string]*control.Bucket{bucket: {
			ID: object.NewBucketID(), Created: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
			Keys: map[string]control.Permission{
				owner.ID: {Read: true, Write: true, Owner: true}, reader.ID: {Read: true},
			},
		}},
	}
}

func (d *directory) AsOf() (revision, changed control.Revision) { return 0, 0 }

func (d *directory) Key(id string) *control.Key {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.keys[id]
}

func (d *directory) Resolve(_ *control.Key, name string) *control.Bucket {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.buckets[name]
}

func (d *directory) BucketsOf(keyID string) (all []control.Named) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for name, b := range d.buckets {
		if _, ok := b.Keys[keyID]; ok {
			all = append(all, control.Named{Name: name, Bucket: b})
		}
	}
	return all
}

// Create implements adminapi.Buckets.
func (d *directory) Create(_ context.Context, keyID, name string) (object.BucketID, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.buckets[name] != nil:
		return object.BucketID{}, fault.New(fault.AlreadyExists, "%s", name)
	case !d.keys[keyID].AllowCreateBucket:
		return object.BucketID{}, fault.New(fault.Denied, "This key may not create buckets.")
	}
	b := &control.Bucket{ID: object.NewBucketID(), Created: time.Now(),
		Keys: map[string]control.Permission{keyID: {Read: true, Write: true, Owner: true}}}
	d.buckets[name] = b
	return b.ID, nil
}

// Delete implements adminapi.Buckets; "full" is never empty.
func (d *directory) Delete(_ context.Context, _ string, id object.BucketID) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for name, b := range d.buckets {
		if b.ID == id && name == "full" {
			return fault.New(fault.NotEmpty, "%s", name)
		} else if b.ID == id {
			delete(d.buckets, name)
		}
	}
	return nil
}

// edge is the whole S3 edge on a real port, over the real use cases.
type edge struct {
	t     *testing.T
	addr  string
	dir   *directory
	store objects.Store
	stop  func()
	api   *s3.API
	seen  chan s3.Outcome
}

type setup struct {
	http  httpd.Config
	store objects.Store
}

func start(t *testing.T, with setup) *edge {
	t.Helper()
	log := slog.New(slog.NewTextHandler(&logs{t: t}, &slog.HandlerOptions{Level: slog.LevelWarn}))
	e := &edge{t: t, dir: newDirectory(), store: with.store, seen: make(chan s3.Outcome, 10_000)}
	if e.store == nil {
		e.store = objects.New(metatest.NewRows(), blocktest.NewStore(), log, objects.Config{MinPartBytes: 1})
	}
	e.api = s3.New(s3.Options{
		Store: e.store, Buckets: e.dir, View: func() access.Directory { return e.dir },
		Region: region, Owner: "cluster", RootDomain: domain, Log: log,
		Observe: func(o s3.Outcome) { e.seen <- o },
	})
	if with.http.Grace == 0 {
		with.http.Grace = time.Second
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e.addr = ln.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- httpd.New(with.http, e.api, log).Serve(ctx, ln) }()
	e.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	t.Cleanup(e.stop)
	return e
}

// logs writes a log into the test's output.
type logs struct{ t *testing.T }

func (l *logs) Write(b []byte) (int, error) {
	l.t.Logf("%s", bytes.TrimSpace(b))
	return len(b), nil
}

// client is the AWS SDK.
func (e *edge) client(k control.Key, opts ...func(*sdk.Options)) *sdk.Client {
	return sdk.New(sdk.Options{
		BaseEndpoint: aws.String("http://" + e.addr), Region: region, UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(k.ID, k.Secret, ""), RetryMaxAttempts: 1,
		HTTPClient: &http.Client{Transport: readOnly{&http.Transport{}}},
	}, opts...)
}

// readOnly hides the WriteTo of request bodies. The SDK closes a body once it
// has the answer, and its WriteTo then fails, which net/http takes for a broken
// upload: a server as fast as one over memory loses that race now and then.
type readOnly struct{ http.RoundTripper }

func (t readOnly) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		r = r.Clone(r.Context())
		r.Body = struct{ io.ReadCloser }{r.Body}
	}
	return t.RoundTripper.RoundTrip(r)
}

// request sends a request signed as the SDK signs, with an unsigned payload
// unless the header says otherwise. target goes onto the wire as it is.
func (e *edge) request(k control.Key, method, target string, body []byte, header ...string) *answer {
	e.t.Helper()
	return e.send(e.signed(k, method, target, body, header...))
}

func (e *edge) signed(k control.Key, method, target string, body []byte, header ...string) *http.Request {
	e.t.Helper()
	r, err := http.NewRequest(method, "http://"+e.addr, bytes.NewReader(body))
	if err != nil {
		e.t.Fatal(err)
	}
	r.URL.Opaque = "//" + e.addr + target // sent and signed unchanged
	if i := bytes.IndexByte([]byte(target), '?'); i >= 0 {
		r.URL.Opaque, r.URL.RawQuery = "//"+e.addr+target[:i], target[i+1:]
	}
	const unsigned = "UNSIGNED-PAYLOAD"
	r.Header.Set("X-Amz-Content-Sha256", unsigned)
	for i := 0; i < len(header); i += 2 {
		if strings.EqualFold(header[i], "X-Amz-Content-Sha256") {
			r.Header.Del(header[i])
		}
		r.Header.Add(header[i], header[i+1])
	}
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	cred := aws.Credentials{AccessKeyID: k.ID, SecretAccessKey: k.Secret}
	if err := signer.SignHTTP(context.Background(), cred, r, r.Header.Get("X-Amz-Content-Sha256"), "s3", region, time.Now()); err != nil {
		e.t.Fatal(err)
	}
	return r
}

// answer is a response with its body read.
type answer struct {
	*http.Response
	body string
}

func (e *edge) send(r *http.Request) *answer {
	e.t.Helper()
	tr := &http.Transport{DisableCompression: true, DisableKeepAlives: true}
	resp, err := tr.RoundTrip(r)
	if err != nil {
		e.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		e.t.Fatalf("%s: read: %v", r.URL, err)
	}
	return &answer{resp, string(b)}
}

// wire sends raw bytes and returns a reader of what comes back.
func (e *edge) wire(raw string) (net.Conn, *bufio.Reader) {
	e.t.Helper()
	c, err := net.Dial("tcp", e.addr)
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		e.t.Fatal(err)
	}
	if _, err := io.WriteString(c, raw); err != nil {
		e.t.Fatal(err)
	}
	return c, bufio.NewReader(c)
}

// rawHead is the head of a signed request as text.
func (e *edge) rawHead(r *http.Request) string {
	var b bytes.Buffer
	target := r.URL.Opaque[len("//"+e.addr):]
	if r.URL.RawQuery != "" {
		target += "?" + r.URL.RawQuery
	}
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", r.Method, target, e.addr)
	if err := r.Header.Write(&b); err != nil {
		e.t.Fatal(err)
	}
	return b.String()
}

func codeOf(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	if err == nil {
		return "none"
	}
	return err.Error()
}

func wantCode(t *testing.T, err error, code string) {
	t.Helper()
	if got := codeOf(err); got != code {
		t.Errorf("got code %q, want %q", got, code)
	}
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// dialer sends every request to the edge, whatever host it is for.
func (e *edge) dialer() *http.Transport {
	tr := &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, e.addr)
	}}
	e.t.Cleanup(tr.CloseIdleConnections)
	return tr
}
