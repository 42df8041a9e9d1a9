package k2v_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
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

	"hangar/services/gateway/internal/access"
	"hangar/services/gateway/internal/changes"
	"hangar/services/gateway/internal/httpd"
	"hangar/services/gateway/internal/items"
	"hangar/services/gateway/internal/k2v"
	"hangar/shared/control"
	"hangar/shared/metaapi"
	"hangar/shared/metaapi/metatest"
	"hangar/shared/object"
)

const (
	region = "hangar"
	bucket = "my_bucket"
)

var (
	owner  = control.Key{ID: "GKOWNER00001", Secret: "owner-secret"}
	reader = control.Key{ID: "GKREADER0001", Secret: "reader-secret"}
	writer = control.Key{ID: "GKWRITER0001", Secret: "writer-secret"}
)

// directory is control state that a test can change.
type directory struct {
	mu       sync.Mutex
	keys     map[string]*control.Key
	bucket   control.Bucket
	revision control.Revision
}

func newDirectory() *directory {
	return &directory{
		keys: map[string]*control.Key{owner.ID: &owner, reader.ID: &reader, writer.ID: &writer},
		bucket: control.Bucket{ID: object.NewBucketID(), Keys: map[string]control.Permission{
			owner.ID: {Read: true, Write: true, Owner: true}, reader.ID: {Read: true}, writer.ID: {Write: true},
		}},
	}
}

func (d *directory) AsOf() (revision, changed control.Revision) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.revision, d.revision
}

func (d *directory) Key(id string) *control.Key {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.keys[id]
}

func (d *directory) Resolve(_ *control.Key, name string) *control.Bucket {
	d.mu.Lock()
	defer d.mu.Unlock()
	if name != bucket {
		return nil
	}
	b := d.bucket
	return &b
}

func (d *directory) BucketsOf(string) []control.Named { return nil }

// revoke takes a key away.
func (d *directory) revoke(id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.keys, id)
	d.revision++
}

// guarded asks for admission as the real client does.
type guarded struct{ metaapi.ItemRows }

func admitted(ctx context.Context) error {
	if a := metaapi.AdmissionOf(ctx); a != nil {
		_, err := a.Current(ctx, 0)
		return err
	}
	return nil
}

func (g guarded) Get(ctx context.Context, k metaapi.RowKey) (metaapi.Row, error) {
	if err := admitted(ctx); err != nil {
		return metaapi.Row{}, err
	}
	return g.ItemRows.Get(ctx, k)
}

func (g guarded) Update(ctx context.Context, k metaapi.RowKey, u metaapi.Update) (metaapi.Written, error) {
	if err := admitted(ctx); err != nil {
		return metaapi.Written{}, err
	}
	return g.ItemRows.Update(ctx, k, u)
}

// edge is a K2V server over memory.
type edge struct {
	t      *testing.T
	dir    *directory
	server *httpd.Server
	hub    *changes.Hub
	addr   string
	client *http.Client
	seen   chan k2v.Outcome
	stop   func()
}

func start(t *testing.T, conf httpd.Config) *edge {
	t.Helper()
	e := &edge{t: t, dir: newDirectory(), hub: changes.NewHub(nil), seen: make(chan k2v.Outcome, 100_000), client: &http.Client{Transport: &http.Transport{}}}
	service := items.New(guarded{metatest.NewItems()}, e.hub, items.Config{})
	api := k2v.New(k2v.Options{Items: service, View: func() access.Directory { return e.dir }, Region: region,
		Observe: func(o k2v.Outcome) { e.seen <- o }})
	if conf.Grace == 0 {
		conf.Grace = time.Second
	}
	conf.Methods = []string{k2v.MethodSearch}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e.addr = ln.Addr().String()
	e.server = httpd.New(conf, api, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := e.server.Serve(ctx, ln); err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	running.Go(func() { _ = e.hub.Run(ctx) })
	e.stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
	})
	t.Cleanup(e.stop)
	return e
}

// reply is what came back.
type reply struct {
	status int
	header http.Header
	body   string
}

func (r reply) token() string { return r.header.Get("X-Garage-Causality-Token") }

func (r reply) code(t *testing.T) string {
	t.Helper()
	var e struct{ Code, Message, Region, Path string }
	if err := json.Unmarshal([]byte(r.body), &e); err != nil || e.Message == "" || e.Region != region || e.Path == "" ||
		r.header.Get("Content-Type") != "application/json" {
		t.Errorf("%d is no error document: %s", r.status, r.body)
	}
	return e.Code
}

// request signs one request. head is "METHOD target"; headers are "Name: value".
func (e *edge) request(k control.Key, service, head, body string, headers ...string) *http.Request {
	e.t.Helper()
	method, target, _ := strings.Cut(head, " ")
	r, err := http.NewRequest(method, "http://"+e.addr+target, strings.NewReader(body))
	if err != nil {
		e.t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Add(name, value)
	}
	sum := sha256.Sum256([]byte(body))
	hash := hex.EncodeToString(sum[:])
	r.Header.Set("X-Amz-Content-Sha256", hash)
	err = v4.NewSigner().SignHTTP(context.Background(), aws.Credentials{AccessKeyID: k.ID, SecretAccessKey: k.Secret}, r, hash, service, region, time.Now())
	if err != nil {
		e.t.Fatal(err)
	}
	return r
}

func (e *edge) send(r *http.Request) (reply, error) {
	resp, err := e.client.Do(r)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, resp.Header, string(b)}, err
}

func (e *edge) do(head, body string, headers ...string) reply {
	e.t.Helper()
	r, err := e.send(e.request(owner, "k2v", head, body, headers...))
	if err != nil {
		e.t.Fatalf("%s: %v", head, err)
	}
	return r
}

// want demands a status and, unless it is "*", a body; JSON is compared as such.
func (e *edge) want(r reply, status int, body string) reply {
	e.t.Helper()
	if r.status != status || body != "*" && canonical(r.body) != canonical(body) {
		e.t.Errorf("got %d %s\nwant %d %s", r.status, r.body, status, body)
	}
	return r
}

func canonical(s string) string {
	var v any
	if json.Unmarshal([]byte(s), &v) != nil {
		return s
	}
	b, _ := json.Marshal(v)
	return string(b)
}

// fill replaces $1, $2… by values.
func fill(s string, values ...string) string {
	for i, v := range values {
		s = strings.ReplaceAll(s, fmt.Sprint("$", i+1), v)
	}
	return s
}

// await reads outcomes until one is of an operation.
func (e *edge) await(op string) k2v.Outcome {
	e.t.Helper()
	after := time.After(10 * time.Second)
	for {
		select {
		case o := <-e.seen:
			if o.Op == op {
				return o
			}
		case <-after:
			e.t.Fatalf("no %s within 10 s", op)
		}
	}
}
