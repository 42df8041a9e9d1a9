//go:build compose

// Package compose tests the deployment of containers as it is shipped: what its
// clients see while a zone dies, gateways come and gateways are restarted.
package compose

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

const root = "../.."

// deployment is a running cluster of containers.
type deployment struct {
	t       *testing.T
	secrets string
	environ []string
	access  struct{ S3Endpoint, AccessKey, SecretKey, AdminToken string }
	sdk     *s3.Client
	retries atomic.Int64 // of sdk
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	must(t, err)
	return port
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// start brings a cluster up beside one that may run already; it is removed with
// all it made when the test ends.
func start(t *testing.T) *deployment {
	t.Helper()
	if out, err := exec.Command("docker", "info").CombinedOutput(); err != nil {
		t.Skipf("Docker is not here: %s", bytes.TrimSpace(out))
	}
	d := &deployment{t: t, secrets: filepath.Join(t.TempDir(), "secrets")}
	s3Port, adminPort := freePort(t), freePort(t)
	d.environ = append(os.Environ(), "COMPOSE_PROJECT_NAME=hangar-test", "HANGAR_TAG=test", "HANGAR_SECRETS="+d.secrets,
		"HANGAR_UID=65532", "HANGAR_LOG_LEVEL=DEBUG", "HANGAR_S3_PORT="+s3Port, "HANGAR_ADMIN_PORT="+adminPort,
		"HANGAR_ADMIN2_PORT="+freePort(t))
	owner := "65532"
	if os.Getuid() != 0 {
		owner = fmt.Sprint(os.Getuid())
		d.environ = append(d.environ, "HANGAR_UID="+owner)
	}
	d.run(root+"/bin/hangar", "init", "secrets", "--data", d.secrets, "--owner", owner,
		"--s3", "https://127.0.0.1:"+s3Port, "--admin", "https://127.0.0.1:"+adminPort)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(d.tryCompose("ps"))
		}
		t.Log(d.tryCompose("down", "--volumes", "--remove-orphans", "--timeout", "5", "--rmi", "all"))
	})
	d.compose("up", "-d", "--build")
	d.run(root+"/bin/hangar", "init", "cluster", "--data", d.secrets)
	b, err := os.ReadFile(filepath.Join(d.secrets, "credentials.json"))
	must(t, err)
	must(t, json.Unmarshal(b, &d.access))
	d.client()
	return d
}

// client makes a client that repeats what may be repeated.
func (d *deployment) client() {
	pem, err := os.ReadFile(filepath.Join(d.secrets, "ca.crt"))
	must(d.t, err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	h := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	d.t.Cleanup(h.CloseIdleConnections)
	d.sdk = s3.New(s3.Options{
		BaseEndpoint: aws.String(d.access.S3Endpoint), Region: "hangar", UsePathStyle: true, HTTPClient: counted{h, &d.retries},
		Credentials: credentials.NewStaticCredentialsProvider(d.access.AccessKey, d.access.SecretKey, ""),
		Retryer: retry.NewStandard(func(o *retry.StandardOptions) {
			o.MaxAttempts = 10
			o.RateLimiter = ratelimit.None
			o.MaxBackoff = 2 * time.Second
		}),
	})
}

// counted counts the answers that are no success.
type counted struct {
	client *http.Client
	failed *atomic.Int64
}

func (c counted) Do(r *http.Request) (*http.Response, error) {
	resp, err := c.client.Do(r)
	if err != nil || resp.StatusCode >= http.StatusInternalServerError {
		c.failed.Add(1)
	}
	return resp, err
}

func (d *deployment) command(name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Env = d.environ
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

func (d *deployment) run(name string, args ...string) string {
	d.t.Helper()
	out, err := d.command(name, args...)
	must(d.t, err)
	return out
}

func composeArgs(args []string) (name string, all []string) {
	all = append([]string{"--project-directory", root + "/deploy/compose", "-f", root + "/deploy/compose/compose.yaml"}, args...)
	if exec.Command("docker", "compose", "version").Run() == nil {
		return "docker", append([]string{"compose"}, all...)
	}
	return "docker-compose", all
}

func (d *deployment) compose(args ...string) string {
	d.t.Helper()
	name, all := composeArgs(args)
	return d.run(name, all...)
}

func (d *deployment) tryCompose(args ...string) string {
	name, all := composeArgs(args)
	out, err := d.command(name, all...)
	if err != nil {
		return err.Error()
	}
	return out
}

// aws runs the command line client.
func (d *deployment) aws(args ...string) string {
	d.t.Helper()
	cmd := exec.Command("/usr/bin/aws", append([]string{"--endpoint-url", d.access.S3Endpoint, "s3"}, args...)...)
	cmd.Env = append(os.Environ(), "AWS_ACCESS_KEY_ID="+d.access.AccessKey, "AWS_SECRET_ACCESS_KEY="+d.access.SecretKey,
		"AWS_DEFAULT_REGION=hangar", "AWS_CA_BUNDLE="+filepath.Join(d.secrets, "ca.crt"), "AWS_MAX_ATTEMPTS=10",
		"AWS_RETRY_MODE=standard", "AWS_EC2_METADATA_DISABLED=true", "HOME="+d.secrets)
	out, err := cmd.CombinedOutput()
	if err != nil {
		d.t.Fatalf("aws %v: %v: %s", args, err, out)
	}
	return string(out)
}

func TestDeployment(t *testing.T) {
	d := start(t)
	file := filepath.Join(t.TempDir(), "file")
	content := make([]byte, 9<<20)
	_, _ = rand.Read(content) // never fails
	must(t, os.WriteFile(file, content, 0o600))
	d.aws("mb", "s3://first")
	d.roundTrip(file, content, "before")

	t.Run("a zone dies", func(t *testing.T) {
		d.compose("kill", "nats-2", "meta-2", "blocks-2", "admin-2")
		d.roundTrip(file, content, "without-zone-2")
		if got := d.aws("ls", "s3://first/"); strings.Count(got, "\n") != 2 {
			t.Errorf("listed %s", got)
		}
		d.compose("start", "nats-2", "meta-2", "blocks-2", "admin-2")
	})
	t.Run("gateways come", func(t *testing.T) {
		d.compose("up", "-d", "--no-recreate", "--scale", "gateway=4")
		d.allServe(t, 4)
	})
	t.Run("gateways are restarted", d.restartGateways)
	t.Run("nothing was refused on NATS, nothing was given away", d.logs)
}

// roundTrip writes an object and reads it back.
func (d *deployment) roundTrip(file string, content []byte, key string) {
	d.t.Helper()
	d.aws("cp", "--quiet", file, "s3://first/"+key)
	back := file + ".back"
	d.aws("cp", "--quiet", "s3://first/"+key, back)
	got, err := os.ReadFile(back)
	must(d.t, err)
	if !bytes.Equal(got, content) {
		d.t.Errorf("%s came back different", key)
	}
}

func (d *deployment) gateways() []string { return strings.Fields(d.compose("ps", "-q", "gateway")) }

// allServe sends requests until each of n gateways has answered some.
func (d *deployment) allServe(t *testing.T, n int) {
	t.Helper()
	ids := d.gateways()
	if len(ids) != n {
		t.Fatalf("%d gateways, want %d", len(ids), n)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for idle := ids; len(idle) > 0; {
		if ctx.Err() != nil {
			t.Fatalf("%d of %d gateways get no requests", len(idle), n)
		}
		for range 20 {
			_, err := d.sdk.HeadObject(ctx, &s3.HeadObjectInput{Bucket: aws.String("first"), Key: aws.String("before")})
			must(t, err)
		}
		var still []string
		for _, id := range idle {
			if !served(ctx, d.address(id)) {
				still = append(still, id)
			}
		}
		idle = still
	}
}

// address of a container on the network inside.
func (d *deployment) address(id string) string {
	return strings.TrimSpace(d.run("docker", "inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", id))
}

// served reports whether a gateway has answered S3 requests.
func served(ctx context.Context, addr string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+":3905/metrics", nil)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return err == nil && bytes.Contains(b, []byte(`hangar_s3_requests_total{operation="HeadObject"`))
}

// restartGateways restarts one after the other while a client writes and reads.
func (d *deployment) restartGateways(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	var requests int
	d.retries.Store(0)
	go func() {
		for i := 0; ctx.Err() == nil; i++ {
			if err := d.once(t.Context(), fmt.Sprintf("during-%d", i)); err != nil {
				done <- err
				return
			}
			requests += 2
		}
		done <- nil
	}()
	for _, id := range d.gateways() {
		d.run("docker", "restart", "-t", "60", id)
		for ctx.Err() == nil {
			if _, err := d.command("docker", "exec", id, "/gateway", "health"); err == nil {
				break
			}
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Errorf("a request failed: %v", err)
	}
	t.Logf("%d requests, %d attempts had to be repeated", requests, d.retries.Load())
	if requests < 20 {
		t.Errorf("only %d requests", requests)
	}
}

func (d *deployment) once(ctx context.Context, key string) error {
	body := []byte(strings.Repeat(key, 1000))
	if _, err := d.sdk.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String("first"), Key: aws.String(key), Body: bytes.NewReader(body)}); err != nil {
		return err
	}
	out, err := d.sdk.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String("first"), Key: aws.String(key)})
	if err != nil {
		return err
	}
	defer out.Body.Close()
	got, err := io.ReadAll(out.Body)
	if err == nil && !bytes.Equal(got, body) {
		err = fmt.Errorf("%s came back different", key)
	}
	return err
}

// logs looks for what must not be there: refusals by NATS, and secrets.
func (d *deployment) logs(t *testing.T) {
	all := d.compose("logs", "--no-color")
	if !strings.Contains(all, `"DEBUG"`) {
		t.Error("these are not the debug logs")
	}
	for line := range strings.Lines(all) {
		if strings.Contains(line, "iolation") {
			t.Errorf("refused: %s", line)
		}
	}
	secret := map[string]string{"secret key": d.access.SecretKey, "admin token": d.access.AdminToken}
	files, err := filepath.Glob(filepath.Join(d.secrets, "*", "*"))
	must(t, err)
	for _, f := range files {
		b, err := os.ReadFile(f)
		must(t, err)
		switch ext := filepath.Ext(f); {
		case ext == ".password" || ext == ".secret" || ext == ".token":
			secret[f] = strings.TrimSpace(string(b))
		case filepath.Base(f) == "tls.key":
			secret[f] = strings.Split(string(b), "\n")[1]
		}
	}
	if len(secret) < 10 {
		t.Fatalf("only %d secrets are known", len(secret))
	}
	for name, s := range secret {
		if strings.Contains(all, s) {
			t.Errorf("%s is in the logs", name)
		}
	}
}
