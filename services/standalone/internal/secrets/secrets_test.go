package secrets

import (
	"context"
	"crypto/tls"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hangar/services/standalone/internal/broker"
	"hangar/services/standalone/internal/datadir"
	"hangar/shared/natsd"
	"hangar/shared/object"
	"hangar/shared/rpc"
)

// tree is all files under dir.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		files[strings.TrimPrefix(path, dir+"/")] = string(b)
		if st, serr := d.Info(); serr != nil || d.Name() != "ca.crt" && st.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, %v", path, st.Mode(), serr)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestSecretsStay(t *testing.T) {
	o := Options{Dir: filepath.Join(t.TempDir(), "s"), Owner: -1, Hosts: []string{"s3.example.org"}, S3Endpoint: "https://s3.example.org"}
	if err := Make(o); err != nil {
		t.Fatal(err)
	}
	first := tree(t, o.Dir)
	if err := Make(o); err != nil {
		t.Fatal(err)
	}
	second := tree(t, o.Dir)
	if len(first) != len(second) || len(first) < 20 {
		t.Errorf("%d files, then %d", len(first), len(second))
	}
	for name, content := range first {
		if name != "nats/users.conf" && second[name] != content { // hashes are salted
			t.Errorf("%s was made anew", name)
		}
	}
	for _, u := range broker.Users() {
		password := strings.TrimSpace(second[PasswordFile(u)])
		if len(password) < 64 || strings.Contains(second["nats/users.conf"], password) {
			t.Errorf("the password of %s is in the servers' configuration", u.Name)
		}
	}
	access, err := datadir.ReadAccess(o.Dir)
	if err != nil || access.AdminToken+"\n" != first["admin/admin.token"] || access.S3Endpoint != o.S3Endpoint {
		t.Errorf("access %+v, %v", access, err)
	}
}

func TestCertificatesNameTheirHosts(t *testing.T) {
	o := Options{Dir: t.TempDir(), Owner: -1, Hosts: []string{"s3.example.org", "10.1.2.3"}}
	if err := Make(o); err != nil {
		t.Fatal(err)
	}
	for folder, hosts := range map[string][]string{
		"gateway": {"gateway", "s3.example.org", "10.1.2.3"}, "balancer": {"s3.example.org", "localhost"},
		"admin": {"admin-2", "127.0.0.1"}, "nats": {"nats-3", "localhost"},
	} {
		pair, err := tls.LoadX509KeyPair(filepath.Join(o.Dir, folder, "tls.crt"), filepath.Join(o.Dir, folder, "tls.key"))
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range hosts {
			if err := pair.Leaf.VerifyHostname(h); err != nil {
				t.Errorf("%s: %v", folder, err)
			}
		}
	}
	pem, err := tls.LoadX509KeyPair(filepath.Join(o.Dir, "balancer/tls.pem"), filepath.Join(o.Dir, "balancer/tls.pem"))
	if err != nil || pem.Leaf.NotAfter.Before(time.Now().AddDate(4, 0, 0)) {
		t.Errorf("the balancer's: %v", err)
	}
}

// TestServersTrustEachOther: NATS servers with these certificates pass messages
// on to each other, and one with others cannot join.
func TestServersTrustEachOther(t *testing.T) {
	ours, theirs := t.TempDir(), t.TempDir()
	for _, dir := range []string{ours, theirs} {
		must(t, Make(Options{Dir: dir, Owner: -1}))
	}
	addrs := []string{freeAddr(t), freeAddr(t)}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	heard := make(chan struct{}, 1)
	var first *rpc.Conn
	for i := range addrs {
		s, err := natsd.Start(natsd.Options{
			Dir: t.TempDir(), Listen: "127.0.0.1:0", Name: fmt.Sprint("n", i), UsersFile: filepath.Join(ours, "nats/users.conf"),
			TLSCert: filepath.Join(ours, "nats/tls.crt"), TLSKey: filepath.Join(ours, "nats/tls.key"), Logger: slog.New(slog.DiscardHandler),
			Cluster: &natsd.Cluster{Name: "c", Listen: addrs[i], Routes: addrs, TLSCA: filepath.Join(ours, "ca.crt")},
		})
		must(t, err)
		t.Cleanup(s.Shutdown)
		password, err := os.ReadFile(filepath.Join(ours, "meta/nats.password"))
		must(t, err)
		c, err := rpc.Connect(ctx, rpc.Options{
			URL: s.ClientURL(), User: "meta", Password: strings.TrimSpace(string(password)), TLSCA: filepath.Join(ours, "ca.crt"),
			InboxPrefix: "_INBOX_meta", Node: object.NewNodeID(),
		})
		must(t, err)
		t.Cleanup(c.Close)
		if i == 0 {
			first = c
			continue
		}
		_, err = c.Handle(rpc.NodeSubject("meta", "scan", c.Node()), func(context.Context, rpc.Message) (rpc.Message, error) {
			heard <- struct{}{}
			return rpc.Message{}, nil
		})
		must(t, err)
		to := rpc.Target{Subject: rpc.NodeSubject("meta", "scan", c.Node()), Nodes: []object.NodeID{c.Node()}}
		for { // until the servers have found each other
			if _, err := first.Call(ctx, to, rpc.Message{}); err == nil {
				break
			}
			must(t, ctx.Err())
		}
		<-heard
	}
	for dir, welcome := range map[string]bool{ours: true, theirs: false} {
		cert, err := tls.LoadX509KeyPair(filepath.Join(dir, "nats/tls.crt"), filepath.Join(dir, "nats/tls.key"))
		must(t, err)
		if err := knock(addrs[0], cert); (err == nil) != welcome {
			t.Errorf("welcome %t: %v", welcome, err)
		}
	}
}

// knock does what a server that wants to join does first; the other then
// introduces itself.
func knock(addr string, cert tls.Certificate) error {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	c := tls.Client(conn, &tls.Config{Certificates: []tls.Certificate{cert}, InsecureSkipVerify: true})
	if err := c.Handshake(); err != nil {
		return err
	}
	_, err = c.Read(make([]byte, 1))
	return err
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().String()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
