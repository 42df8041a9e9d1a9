package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hangar/tests/harness"
)

func TestRestartKeepsEverything(t *testing.T) {
	s := harness.Start(t)
	ctx := testContext(t, time.Minute)
	c := harness.SDK(s.S3)
	small, large := content(1, 500), content(2, 5<<20)
	if err := put(ctx, c, "small", small); err != nil {
		t.Fatal(err)
	}
	if err := put(ctx, c, "large", large); err != nil {
		t.Fatal(err)
	}
	s.Stop()
	s.Restart()
	for key, want := range map[string][]byte{"small": small, "large": large} {
		if b, err := get(ctx, c, key); err != nil || !bytes.Equal(b, want) {
			t.Fatalf("%s after a restart: %d bytes, %v", key, len(b), err)
		}
	}
}

func TestFirstStartPrintsHowToUseIt(t *testing.T) {
	s3, admin := harness.FreeAddr(t), harness.FreeAddr(t)
	dir := filepath.Join(t.TempDir(), "new", "data")
	p := harness.Run(t, []string{"HANGAR_S3_ADDR=" + s3, "HANGAR_K2V_ADDR=", "HANGAR_ADMIN_ADDR=" + admin}, harness.Bin(t, "hangar"), "server", "--data", dir)
	p.AwaitHealthy("http://" + admin + "/health")
	defer p.Stop()
	deadline := time.Now().Add(10 * time.Second)
	for !strings.Contains(p.Output(), "aws ") && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond) // output of another process
	}
	out := p.Output()
	for _, want := range []string{s3, "hangar", "GK", "aws "} {
		if !strings.Contains(out, want) {
			t.Errorf("the first start does not print %q:\n%s", want, out)
		}
	}
	info, err := os.Stat(filepath.Join(dir, "credentials.json"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("credentials: %v, %v", info, err)
	}
	resp, err := http.Get("http://" + admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusForbidden && resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("metrics: %s", resp.Status)
	}
}

// TestBadStartsEndWithOneClearLine: what operators get wrong.
func TestBadStartsEndWithOneClearLine(t *testing.T) {
	running := harness.Start(t)
	busy, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	file := filepath.Join(t.TempDir(), "file")
	writeFile(t, file, []byte("x"))
	free := func() []string {
		return []string{"HANGAR_S3_ADDR=" + harness.FreeAddr(t), "HANGAR_K2V_ADDR=", "HANGAR_ADMIN_ADDR=" + harness.FreeAddr(t)}
	}
	for name, c := range map[string]struct {
		dir  string
		env  []string
		want string
	}{
		"same directory": {running.Dir, free(), "use"},
		"busy port":      {t.TempDir(), append(free(), "HANGAR_S3_ADDR="+busy.Addr().String()), busy.Addr().String()},
		"not a folder":   {filepath.Join(file, "data"), free(), "file"},
		"read-only":      {"/proc/hangar", free(), "/proc/hangar"},
		"wrong variable": {t.TempDir(), append(free(), "HANGAR_REPLICATION_FACTOR=many"), "HANGAR_REPLICATION_FACTOR"},
		"no directory":   {"", free(), "--data"},
	} {
		t.Run(name, func(t *testing.T) {
			p := harness.Run(t, c.env, harness.Bin(t, "hangar"), "server", "--data", c.dir)
			exit, err := p.Wait(30 * time.Second)
			if err != nil {
				p.Kill()
				t.Fatalf("%v\n%s", err, p.Output())
			}
			out := strings.TrimSpace(p.Output())
			if exit == 0 || strings.Count(out, "\n") > 0 || !strings.Contains(out, c.want) {
				t.Errorf("exit %d, printed:\n%s\nwant one line with %q", exit, out, c.want)
			}
		})
	}
	// The running server took no harm.
	if err := put(testContext(t, time.Minute), harness.SDK(running.S3), "still", []byte("here")); err != nil {
		t.Fatal(err)
	}
}

func TestServicesExplainThemselves(t *testing.T) {
	for _, name := range []string{"hangar", "gateway", "meta", "blocks", "admin"} {
		p := harness.Run(t, nil, harness.Bin(t, name), "--help")
		exit, err := p.Wait(10 * time.Second)
		if err != nil || exit != 0 {
			t.Errorf("%s --help: exit %d, %v", name, exit, err)
		}
		if name != "hangar" && !strings.Contains(p.Output(), "HANGAR_NATS_URL") {
			t.Errorf("%s --help does not name HANGAR_NATS_URL:\n%s", name, p.Output())
		}
	}
}

func TestCommandLine(t *testing.T) {
	s := sharedServer(t)
	env := []string{"HANGAR_ADMIN_ENDPOINT=" + s.Admin, "HANGAR_ADMIN_TOKEN=" + harness.AdminToken}
	run := func(args ...string) string {
		t.Helper()
		p := harness.Run(t, env, harness.Bin(t, "hangar"), args...)
		exit, err := p.Wait(30 * time.Second)
		if err != nil || exit != 0 {
			t.Fatalf("hangar %s: exit %d, %v\n%s", strings.Join(args, " "), exit, err, p.Output())
		}
		return p.Output()
	}
	run("bucket", "create", "cli-bucket")
	key := run("key", "create", "cli-key")
	id := "GK" + strings.Fields(strings.SplitAfterN(key, "GK", 2)[1])[0]
	run("bucket", "allow", "cli-bucket", "cli-key", "--read", "--write")
	if err := put(testContext(t, time.Minute), harness.SDK(s.S3), "inspected", content(3, 3<<20)); err != nil {
		t.Fatal(err)
	}
	for args, want := range map[string]string{
		"bucket list":            "cli-bucket",
		"bucket info cli-bucket": id,
		"key list":               "cli-key",
		"key info " + id:         "read+write",
		"status":                 "meta",
		"health":                 "healthy",
		"layout show":            "Layout version 1",
		"bucket inspect-object " + harness.Bucket + " inspected": "3.0 MiB (3,145,728 bytes)",
	} {
		if out := run(strings.Fields(args)...); !strings.Contains(out, want) {
			t.Errorf("hangar %s does not print %q:\n%s", args, want, out)
		}
	}
	run("bucket", "deny", "cli-bucket", id, "--read", "--write")
	run("bucket", "delete", "cli-bucket", "--yes")
	run("key", "delete", id, "--yes")
	p := harness.Run(t, []string{"HANGAR_ADMIN_ENDPOINT=" + s.Admin, "HANGAR_ADMIN_TOKEN=wrong"}, harness.Bin(t, "hangar"), "key", "list")
	if exit, err := p.Wait(10 * time.Second); err != nil || exit != 4 || strings.Count(strings.TrimSpace(p.Output()), "\n") > 0 {
		t.Errorf("a wrong token: exit %d, %v, printed %q", exit, err, fmt.Sprint(p.Output()))
	}
}
