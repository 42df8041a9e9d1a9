package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hangar/tests/harness"
)

// TestControlStateIsRebuiltFromAMirror loses the broker's whole directory and
// brings the cluster back from the copy that the server kept.
func TestControlStateIsRebuiltFromAMirror(t *testing.T) {
	s := harness.Start(t)
	ctx := testContext(t, time.Minute)
	c := harness.SDK(s.S3)
	if err := put(ctx, c, "before", content(1, 2<<20)); err != nil {
		t.Fatal(err)
	}
	var key struct{ AccessKeyID, SecretAccessKey string }
	s.AdminCall("POST", "/v2/CreateKey", map[string]any{"name": "kept"}, &key)
	hangar := func(want int, args ...string) string {
		t.Helper()
		p := harness.Run(t, nil, harness.Bin(t, "hangar"), append([]string{"--data", s.Dir, "control"}, args...)...)
		exit, err := p.Wait(30 * time.Second)
		if err != nil || exit != want {
			t.Fatalf("hangar control %v: exit %d, %v\n%s", args, exit, err, p.Output())
		}
		return p.Output()
	}
	file := filepath.Join(t.TempDir(), "exported")
	if out := hangar(1, "export", file); !strings.Contains(out, "in use") {
		t.Errorf("export beside a running server printed %q", out)
	}
	s.Stop()
	hangar(0, "export", file)
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("export: %v, %v", info, err)
	}
	if out := hangar(1, "restore", file); !strings.Contains(out, "force") && !strings.Contains(out, "empty") {
		t.Errorf("restoring over a control state printed %q", out)
	}
	if err := os.RemoveAll(filepath.Join(s.Dir, "nats", "jetstream")); err != nil {
		t.Fatal(err)
	}
	hangar(0, "restore", filepath.Join(s.Dir, "control.export"))
	s.Restart()
	if b, err := get(ctx, c, "before"); err != nil || sum(b) != sum(content(1, 2<<20)) {
		t.Fatalf("after the restore: %d bytes, %v", len(b), err)
	}
	var keys []struct{ ID string }
	s.AdminCall("GET", "/v2/ListKeys", nil, &keys)
	if len(keys) != 2 {
		t.Fatalf("keys after the restore: %v", keys)
	}
}
