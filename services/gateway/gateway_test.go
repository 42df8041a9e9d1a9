package gateway

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"

	"hangar/shared/adminapi"
	"hangar/shared/blockapi/blocktest"
	"hangar/shared/config"
	"hangar/shared/control"
	"hangar/shared/metaapi/metatest"
	"hangar/shared/natsd"
	"hangar/shared/nodeapi"
	"hangar/shared/object"
	"hangar/shared/rpc"
	"hangar/shared/telemetry"
)

// cluster is a real broker with a control state of one key and one bucket.
type cluster struct {
	url  string
	conn *rpc.Conn
	key  *control.Key
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	quiet := slog.New(slog.DiscardHandler)
	srv, err := natsd.Start(natsd.Options{Dir: t.TempDir(), Listen: "127.0.0.1:0", Logger: quiet})
	check(t, err)
	t.Cleanup(func() { srv.Shutdown() })
	conn, err := rpc.Connect(ctx, rpc.Options{URL: srv.ClientURL(), Node: object.NewNodeID(), Logger: quiet})
	check(t, err)
	t.Cleanup(conn.Close)
	store, err := control.OpenStore(ctx, conn.NATS(), control.StoreOptions{})
	check(t, err)
	_, _, err = store.CreateCluster(ctx, control.Cluster{ID: "test", Region: "hangar", ReplicationFactor: 1, PartitionBits: 8})
	check(t, err)
	key, _, err := store.CreateKey(ctx, control.Key{ID: control.NewKeyID(), Secret: control.NewSecret(), Name: "test"})
	check(t, err)
	b, _, err := store.CreateBucket(ctx, control.NewBucket{Name: "photos"})
	check(t, err)
	_, err = store.Allow(ctx, b.ID, key.ID, control.Permission{Read: true, Write: true, Owner: true})
	check(t, err)
	return &cluster{srv.ClientURL(), conn, key}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (c *cluster) client(endpoint string, h *http.Client) *sdk.Client {
	return sdk.New(sdk.Options{
		BaseEndpoint: aws.String(endpoint), Region: "hangar", UsePathStyle: true, HTTPClient: h,
		Credentials: credentials.NewStaticCredentialsProvider(c.key.ID, c.key.Secret, ""),
	})
}

// run runs f until the test ends and reports its error.
func run(t *testing.T, f func(ctx context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func defaults(t *testing.T, cfg any, environ ...string) {
	t.Helper()
	check(t, config.Parse(cfg, environ))
}

func TestGatewayServesTLS(t *testing.T) {
	c := newCluster(t)
	mirror, err := control.NewMirror(c.conn.NATS(), control.MirrorOptions{Log: slog.New(slog.DiscardHandler)})
	check(t, err)
	run(t, mirror.Run)
	check(t, mirror.WaitSynced(t.Context()))
	tel, err := telemetry.New(t.Context(), telemetry.Config{LogLevel: slog.LevelError}, "gateway", "test")
	check(t, err)
	cert, key, pool := selfSigned(t)
	var cfg Config
	defaults(t, &cfg, "HANGAR_S3_ADDR=127.0.0.1:0", "HANGAR_K2V_ADDR=127.0.0.1:0", "HANGAR_TLS_CERT="+cert, "HANGAR_TLS_KEY="+key)
	gw, err := New(cfg, Deps{Rows: metatest.NewItems(), Blocks: blocktest.NewStore(),
		Buckets: adminapi.NewClient(c.conn), View: mirror.View, Await: mirror.WaitRevision, Telemetry: tel})
	check(t, err)
	run(t, gw.Run)
	<-gw.Ready()

	h := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	s3 := c.client("https://"+gw.Addr().String(), h)
	_, err = s3.PutObject(t.Context(), &sdk.PutObjectInput{Bucket: aws.String("photos"), Key: aws.String("k"), Body: strings.NewReader("v")})
	check(t, err)
	out, err := s3.HeadObject(t.Context(), &sdk.HeadObjectInput{Bucket: aws.String("photos"), Key: aws.String("k")})
	check(t, err)
	if *out.ContentLength != 1 {
		t.Errorf("length %d", *out.ContentLength)
	}
	h.CloseIdleConnections()
	if r := tel.Health.Check(t.Context()); r.OK() || r.Checks["s3"] != "no layout has been applied" {
		t.Errorf("health without a layout: %+v", r)
	}
	families, err := tel.Registry.Gather()
	check(t, err)
	seen := false
	for _, f := range families {
		seen = seen || f.GetName() == "hangar_s3_requests_total"
	}
	if !seen {
		t.Error("no metric of requests")
	}
}

// TestDrainingGatewayTurnsBalancersAway: /health fails before the listener closes.
func TestDrainingGatewayTurnsBalancersAway(t *testing.T) {
	tel, err := telemetry.New(t.Context(), telemetry.Config{LogLevel: slog.LevelError}, "gateway", "test")
	check(t, err)
	var cfg Config
	defaults(t, &cfg, "HANGAR_S3_DRAIN=25s")
	gw, err := New(cfg, Deps{Telemetry: tel})
	check(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- gw.Drain(ctx) }()
	for tel.Health.Check(t.Context()).Checks["s3"] != "about to stop" {
		check(t, t.Context().Err())
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("the drain ended with %v", err)
	}
}

func TestProcessJoinsTheCluster(t *testing.T) {
	c := newCluster(t)
	var cfg ProcessConfig
	defaults(t, &cfg, "HANGAR_S3_ADDR=127.0.0.1:0", "HANGAR_K2V_ADDR=127.0.0.1:0", "HANGAR_OPS_ADDR=", "HANGAR_NATS_URL="+c.url, "HANGAR_LOG_LEVEL=ERROR", "HANGAR_ZONE=z1")
	cfg.Process.Telemetry.OpsAddr = "" // an empty variable keeps the default
	run(t, func(ctx context.Context) error { return RunProcess(ctx, cfg, "v1.2.3") })
	for {
		nodes, _, err := nodeapi.List(t.Context(), c.conn.NATS(), nodeapi.Quiet)
		check(t, err)
		if len(nodes) == 0 {
			continue
		}
		n := nodes[0]
		if n.Service != "gateway" || n.Zone != "z1" || n.Version != "v1.2.3" {
			t.Errorf("announced %+v", n)
		}
		list, err := c.client("http://"+n.S3Addr, http.DefaultClient).ListBuckets(t.Context(), &sdk.ListBucketsInput{})
		check(t, err)
		if len(list.Buckets) != 1 || *list.Buckets[0].Name != "photos" {
			t.Errorf("buckets %+v", list.Buckets)
		}
		return
	}
}

func TestBusyPortIsOneClearError(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	defer ln.Close()
	_, _, err = (&Gateway{cfg: Config{S3Addr: ln.Addr().String()}}).listen(t.Context())
	if err == nil || !strings.Contains(err.Error(), "HANGAR_S3_ADDR") || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v", err)
	}
}

func TestConfigIsChecked(t *testing.T) {
	for _, bad := range []string{"HANGAR_TLS_CERT=x", "HANGAR_S3_DRAIN=1h", "HANGAR_S3_MAX_REQUESTS=0", "HANGAR_BLOCK_BYTES=1", "HANGAR_INLINE_BYTES=99999999", "HANGAR_S3_STALL_TIMEOUT=-1s"} {
		name, _, _ := strings.Cut(bad, "=")
		if err := config.Parse(new(Config), []string{bad}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// selfSigned writes a certificate for 127.0.0.1 and returns who trusts it.
func selfSigned(t *testing.T) (certFile, keyFile string, pool *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	check(t, err)
	pkcs, err := x509.MarshalPKCS8PrivateKey(key)
	check(t, err)
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	check(t, os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	check(t, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs}), 0o600))
	pool = x509.NewCertPool()
	parsed, err := x509.ParseCertificate(der)
	check(t, err)
	pool.AddCert(parsed)
	return certFile, keyFile, pool
}
