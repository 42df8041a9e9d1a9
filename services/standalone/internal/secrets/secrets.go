// Package secrets makes what the processes of a cluster must keep to themselves
// or show each other: certificates, passwords, tokens, and the users of the
// message broker. Each process gets a folder of its own, so that it can be given
// that and nothing else.
//
//	ca.crt, ca.key           the authority that signs the cluster's certificates
//	credentials.json         how operators reach the cluster
//	nats/                    users.conf (hashes and permissions), tls.*, cluster.secret
//	gateway/ meta/ blocks/   nats.password; the gateway also tls.*
//	admin/                   nats.password, control.password, admin.token, tls.*
//	balancer/                tls.pem
//
// Each folder holds a copy of ca.crt. Everything but that has mode 0600.
package secrets

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/bcrypt"

	"hangar/services/standalone/internal/broker"
	"hangar/services/standalone/internal/datadir"
)

// Options say what to make.
type Options struct {
	// Dir holds everything. What is there already stays as it is.
	Dir string
	// Hosts are further names and addresses of the S3 endpoint and the Admin API.
	Hosts []string
	// S3Endpoint, K2VEndpoint and AdminEndpoint are the URLs at which the cluster
	// is reached.
	S3Endpoint, K2VEndpoint, AdminEndpoint string
	// Owner is the user id that the processes run with; -1 leaves the files to
	// whoever makes them.
	Owner int
}

// local are names under which an endpoint is reached on its machine.
var local = []string{"localhost", "127.0.0.1", "::1"}

// Make makes what is missing. Only the broker's users are made anew each time:
// their passwords stay, but what they may do follows the program.
func Make(o Options) error {
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return err
	}
	m := &maker{Options: o}
	if err := m.authority(); err != nil {
		return err
	}
	public := append(o.Hosts, local...)
	for _, p := range []struct {
		folder string
		hosts  []string // none: it needs no certificate
	}{
		{"nats", append([]string{"nats-1", "nats-2", "nats-3", "nats"}, local...)},
		{"gateway", append([]string{"gateway"}, public...)},
		{"balancer", append([]string{"balancer"}, public...)},
		{"admin", append([]string{"admin", "admin-1", "admin-2"}, public...)},
		{"meta", nil}, {"blocks", nil},
	} {
		if err := m.folder(p.folder, p.hosts); err != nil {
			return fmt.Errorf("%s: %w", p.folder, err)
		}
	}
	if err := m.users(); err != nil {
		return err
	}
	if _, err := m.once("nats/cluster.secret", secret); err != nil {
		return err
	}
	return m.access()
}

type maker struct {
	Options
	ca *authority
}

// folder makes the folder of a process, with its certificate if it needs one.
func (m *maker) folder(name string, hosts []string) error {
	dir := filepath.Join(m.Dir, name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := m.own(dir); err != nil {
		return err
	}
	if err := m.write(filepath.Join(name, "ca.crt"), m.ca.pem); err != nil || hosts == nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(dir, "tls.key")); err == nil {
		return nil
	}
	cert, key, err := m.ca.issue(name, hosts)
	if err != nil {
		return err
	}
	if name == "balancer" { // HAProxy wants both in one file
		if err := m.write("balancer/tls.pem", append(bytes.Clone(cert), key...)); err != nil {
			return err
		}
	}
	if err := m.write(filepath.Join(name, "tls.crt"), cert); err != nil {
		return err
	}
	return m.write(filepath.Join(name, "tls.key"), key)
}

// users makes a password for each user of the broker, and the file with their
// hashes and permissions.
func (m *maker) users() error {
	hashes := map[string]string{}
	for _, u := range broker.Users() {
		password, err := m.once(PasswordFile(u), secret)
		if err != nil {
			return err
		}
		// The least cost will do: a password of 256 random bits cannot be guessed.
		hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
		if err != nil {
			return err
		}
		hashes[u.Name] = string(hash)
	}
	var b bytes.Buffer
	if err := broker.WriteConfig(&b, hashes); err != nil {
		return err
	}
	return m.write("nats/users.conf", b.Bytes())
}

// PasswordFile is where the password of a user is, below Options.Dir.
func PasswordFile(u broker.User) string {
	if u.Name == u.Service {
		return u.Service + "/nats.password"
	}
	return u.Service + "/" + u.Name + ".password"
}

// access makes the admin token, the first key, and the file that says how to
// reach the cluster.
func (m *maker) access() error {
	token, err := m.once("admin/admin.token", secret)
	if err != nil {
		return err
	}
	if _, err := datadir.ReadAccess(m.Dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	a := datadir.Access{
		S3Endpoint: m.S3Endpoint, K2VEndpoint: m.K2VEndpoint, Region: "hangar", AccessKey: "GK" + random(12), SecretKey: random(32),
		AdminEndpoint: m.AdminEndpoint, AdminToken: token, CA: "ca.crt",
	}
	return datadir.WriteAccess(m.Dir, a)
}

// once returns what the file holds; if there is none it is made.
func (m *maker) once(name string, make func() string) (string, error) {
	b, err := os.ReadFile(filepath.Join(m.Dir, name))
	if err == nil {
		return strings.TrimSpace(string(b)), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	s := make()
	return s, m.write(name, []byte(s+"\n"))
}

func secret() string { return random(32) }

func random(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// write replaces a file atomically. The authority's certificate is no secret.
func (m *maker) write(name string, content []byte) error {
	path := filepath.Join(m.Dir, name)
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // after the rename there is nothing to remove
	_, err = f.Write(content)
	if err == nil && filepath.Base(name) == "ca.crt" {
		err = f.Chmod(0o644)
	}
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if filepath.Dir(name) != "." {
		if err := m.own(f.Name()); err != nil {
			return err
		}
	}
	return os.Rename(f.Name(), path)
}

// own gives a file of a process to its user.
func (m *maker) own(path string) error {
	if m.Owner < 0 || m.Owner == os.Getuid() {
		return nil
	}
	return os.Chown(path, m.Owner, m.Owner)
}
