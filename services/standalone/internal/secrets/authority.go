package secrets

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

const (
	authorityYears   = 20
	certificateYears = 5
)

// authority signs the certificates of a cluster.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
	pem  []byte // its certificate
}

// authority reads the cluster's authority, or makes it.
func (m *maker) authority() error {
	certFile, keyFile := filepath.Join(m.Dir, "ca.crt"), filepath.Join(m.Dir, "ca.key")
	if _, err := os.Stat(keyFile); errors.Is(err, fs.ErrNotExist) {
		cert, key, err := newAuthority()
		if err != nil {
			return err
		}
		// The key last: without it the next run begins anew.
		if err := m.write("ca.crt", cert); err != nil {
			return err
		}
		if err := m.write("ca.key", key); err != nil {
			return err
		}
	}
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return err
	}
	m.ca = &authority{cert: pair.Leaf, pem: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]})}
	m.ca.key, _ = pair.PrivateKey.(crypto.Signer) // every key that LoadX509KeyPair takes is one
	return nil
}

func newAuthority() (cert, key []byte, err error) {
	c, err := template("Hangar cluster authority", authorityYears)
	if err != nil {
		return nil, nil, err
	}
	c.IsCA, c.BasicConstraintsValid, c.MaxPathLenZero = true, true, true
	c.KeyUsage = x509.KeyUsageCertSign
	return sign(c, c, nil)
}

// issue makes a certificate for a process that is reached under hosts. Servers
// of the broker also show it to each other as clients.
func (a *authority) issue(name string, hosts []string) (cert, key []byte, err error) {
	c, err := template(name, certificateYears)
	if err != nil {
		return nil, nil, err
	}
	c.KeyUsage = x509.KeyUsageDigitalSignature
	c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			c.IPAddresses = append(c.IPAddresses, ip)
		} else {
			c.DNSNames = append(c.DNSNames, h)
		}
	}
	return sign(c, a.cert, a.key)
}

func template(name string, years int) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	return &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name, Organization: []string{"Hangar"}},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(years, 0, 0),
	}, err
}

// sign makes c's certificate and a key for it; without the parent's key it is
// signed by its own.
func sign(c, parent *x509.Certificate, by crypto.Signer) (cert, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	if by == nil {
		by = private
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, private.Public(), by)
	if err != nil {
		return nil, nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), nil
}
