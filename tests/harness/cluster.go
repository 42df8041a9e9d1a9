package harness

import (
	"encoding/json"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// Cluster is a running `hangar dev`.
type Cluster struct {
	Dir       string
	S3, K2V   []string
	Admin     string
	NATS      string // URL
	Processes []ClusterProcess
	t         testing.TB
	p         *Process
}

// ClusterProcess is one process of a cluster.
type ClusterProcess struct {
	Name    string `json:"name"`
	Service string `json:"service"`
	Zone    string `json:"zone"`
	Ops     string `json:"ops"`
	PID     int    `json:"pid"`
}

// StartCluster runs a cluster of real processes with three copies of
// everything and waits until it serves. It is stopped when the test ends.
func StartCluster(t testing.TB, args ...string) *Cluster {
	t.Helper()
	return StartClusterOf(t, filepath.Dir(Bin(t, "hangar")), nil, args...)
}

// StartClusterOf is StartCluster with the binaries of a folder and env added to
// the environment of all processes.
func StartClusterOf(t testing.TB, bin string, env []string, args ...string) *Cluster {
	t.Helper()
	c := &Cluster{Dir: t.TempDir(), t: t}
	env = append([]string{
		"HANGAR_ADMIN_TOKEN=" + AdminToken, "HANGAR_DEFAULT_ACCESS_KEY=" + AccessKey,
		"HANGAR_DEFAULT_SECRET_KEY=" + SecretKey, "HANGAR_DEFAULT_BUCKET=" + Bucket,
	}, env...)
	c.p = Run(t, env, filepath.Join(bin, "hangar"), append([]string{"dev", "--data", c.Dir}, args...)...)
	t.Cleanup(c.p.Stop)
	deadline := time.Now().Add(2 * startTimeout)
	for !c.load() {
		select {
		case <-c.p.done:
			t.Fatalf("the cluster ended before it served:\n%s", c.p.Output())
		case <-time.After(50 * time.Millisecond): // polls another process
		}
		if time.Now().After(deadline) {
			t.Fatalf("the cluster does not serve:\n%s\n%s", c.p.Output(), c.Logs())
		}
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(c.Logs())
		}
	})
	return c
}

// load reads what `hangar dev` wrote once the cluster was ready.
func (c *Cluster) load() bool {
	b, err := os.ReadFile(filepath.Join(c.Dir, "cluster.json"))
	if err != nil {
		return false
	}
	var f struct {
		S3        []string         `json:"s3"`
		K2V       []string         `json:"k2v"`
		Admin     string           `json:"admin"`
		NATS      string           `json:"nats"`
		Processes []ClusterProcess `json:"processes"`
	}
	if err := json.Unmarshal(b, &f); err != nil {
		c.t.Fatalf("cluster.json: %v", err)
	}
	c.S3, c.K2V, c.Admin, c.NATS, c.Processes = f.S3, f.K2V, f.Admin, f.NATS, f.Processes
	return true
}

// Logs is the end of every process's log.
func (c *Cluster) Logs() string {
	files, err := filepath.Glob(filepath.Join(c.Dir, "*.log"))
	if err != nil {
		c.t.Fatal(err)
	}
	out := ""
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue // gone with the cluster
		}
		out += "== " + filepath.Base(f) + "\n" + string(b[max(0, len(b)-2048):])
	}
	return out
}

// Signal sends sig to the named process.
func (c *Cluster) Signal(name string, sig syscall.Signal) {
	c.t.Helper()
	for _, p := range c.Processes {
		if p.Name == name {
			if err := syscall.Kill(p.PID, sig); err != nil {
				c.t.Fatalf("signal %s (pid %d): %v", name, p.PID, err)
			}
			return
		}
	}
	c.t.Fatalf("there is no process %q", name)
}
