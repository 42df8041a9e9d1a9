package certificate

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// put writes a certificate for name, and pretends it is of time at.
func put(t *testing.T, f Files, name string, at time.Time) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	check(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	check(t, err)
	check(t, os.WriteFile(f.Cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	check(t, os.WriteFile(f.Key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), 0o600))
	for _, file := range []string{f.Cert, f.Key} {
		check(t, os.Chtimes(file, at, at))
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestReplacedFilesAreTakenUp(t *testing.T) {
	dir := t.TempDir()
	f := Files{Cert: filepath.Join(dir, "c"), Key: filepath.Join(dir, "k"), Setting: "X", Log: slog.New(slog.DiscardHandler)}
	began := time.Now()
	put(t, f, "old", began)
	pair, err := f.load()
	check(t, err)
	name := func() string {
		pair.mu.Lock()
		pair.looked = time.Time{} // as if the last look were long ago
		pair.mu.Unlock()
		c, err := pair.get(nil)
		check(t, err)
		return c.Leaf.Subject.CommonName
	}
	if got := name(); got != "old" {
		t.Errorf("got %q", got)
	}
	put(t, f, "new", began.Add(time.Second))
	if got := name(); got != "new" {
		t.Errorf("after the files were replaced: %q", got)
	}
	check(t, os.WriteFile(f.Key, []byte("half a file"), 0o600))
	if got := name(); got != "new" {
		t.Errorf("with a damaged key: %q", got)
	}
	put(t, f, "newest", began.Add(2*time.Second))
	if got := name(); got != "newest" {
		t.Errorf("after the repair: %q", got)
	}
}

func TestFilesAreChecked(t *testing.T) {
	if c, err := (Files{}).Server(); c != nil || err != nil {
		t.Errorf("without files: %v, %v", c, err)
	}
	if err := (Files{Cert: "a", Setting: "X"}).Validate(); err == nil {
		t.Error("a certificate without a key is taken")
	}
	if _, err := (Files{Cert: "no", Key: "no", Setting: "X"}).Server(); err == nil {
		t.Error("files that are not there are taken")
	}
}
