package rpc_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"hangar/shared/natsd"
	"hangar/shared/object"
	"hangar/shared/rpc"
)

// authority makes certificates in files.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	// file of the authority's own certificate.
	file string
}

func newAuthority(t *testing.T) *authority {
	a := &authority{dir: t.TempDir()}
	a.file, _ = a.issue(t, "ca")
	return a
}

// issue writes a certificate for 127.0.0.1 and its key; the first one signs itself.
func (a *authority) issue(t *testing.T, name string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if a.cert == nil {
		c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
		a.cert, a.key = c, private
	}
	der, err := x509.CreateCertificate(rand.Reader, c, a.cert, &private.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	write := func(suffix, kind string, b []byte) string {
		p := filepath.Join(a.dir, name+suffix)
		if err := os.WriteFile(p, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	return write(".crt", "CERTIFICATE", der), write(".key", "PRIVATE KEY", pkcs8)
}

func TestTLS(t *testing.T) {
	ours, theirs := newAuthority(t), newAuthority(t)
	cert, key := ours.issue(t, "server")
	s, err := natsd.Start(natsd.Options{
		Dir: t.TempDir(), Listen: "127.0.0.1:0", TLSCert: cert, TLSKey: key, TLSCA: ours.file,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Shutdown)
	cert, key = ours.issue(t, "client")
	good := rpc.Options{URL: s.ClientURL(), TLSCA: ours.file, TLSCert: cert, TLSKey: key}
	c := connect(t, good)
	if _, err := c.Handle("hangar.test.n.op", func(context.Context, rpc.Message) (rpc.Message, error) {
		return rpc.Message{}, nil
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Call(t.Context(), rpc.Target{Subject: "hangar.test.n.op", Nodes: []object.NodeID{c.Node()}}, rpc.Message{}); err != nil {
		t.Error(err)
	}

	strangerCert, strangerKey := theirs.issue(t, "stranger")
	for name, bad := range map[string]rpc.Options{
		"no certificate":          {URL: s.ClientURL(), TLSCA: ours.file},
		"foreign certificate":     {URL: s.ClientURL(), TLSCA: ours.file, TLSCert: strangerCert, TLSKey: strangerKey},
		"server is not trusted":   {URL: s.ClientURL(), TLSCA: theirs.file, TLSCert: cert, TLSKey: key},
		"certificate not on disk": {URL: s.ClientURL(), TLSCA: ours.file, TLSCert: "no", TLSKey: "no"},
	} {
		if c, err := rpc.Connect(within(t, 300*time.Millisecond), bad); err == nil {
			c.Close()
			t.Errorf("%s: connected", name)
		}
	}
}
