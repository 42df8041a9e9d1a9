package process

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hangar/shared/telemetry"
)

// TestHealthIsAskedOverTLS asks a real ops server with a certificate.
func TestHealthIsAskedOverTLS(t *testing.T) {
	borrowed := httptest.NewTLSServer(nil)
	defer borrowed.Close()
	pair := borrowed.TLS.Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	c := telemetry.Config{
		OpsAddr: "127.0.0.1:0", OpsTLSCert: filepath.Join(t.TempDir(), "cert"), OpsTLSKey: filepath.Join(t.TempDir(), "key"),
	}
	for name, b := range map[string]pem.Block{
		c.OpsTLSCert: {Type: "CERTIFICATE", Bytes: pair.Certificate[0]}, c.OpsTLSKey: {Type: "PRIVATE KEY", Bytes: key},
	} {
		if err := os.WriteFile(name, pem.EncodeToMemory(&b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	i, err := telemetry.New(t.Context(), c, "meta", "1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	l, err := c.Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- i.Serve(ctx, l) }()
	url := healthURL(l.Addr().String(), true)
	if err := AskHealth(t.Context(), url); err != nil {
		t.Errorf("healthy: %v", err)
	}
	i.Health.Register("disk", func(context.Context) error { return errors.New("full of holes") })
	if err := AskHealth(t.Context(), url); err == nil || !strings.Contains(err.Error(), "full of holes") {
		t.Errorf("unhealthy: %v", err)
	}
	if err := AskHealth(t.Context(), healthURL(l.Addr().String(), false)); err == nil {
		t.Error("answered without TLS")
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func TestHealthIsAskedOnThisMachine(t *testing.T) {
	for addr, want := range map[string]string{
		":3905": "http://127.0.0.1:3905/health", "0.0.0.0:1": "http://127.0.0.1:1/health", "[::]:1": "http://127.0.0.1:1/health",
		"10.0.0.1:1": "http://10.0.0.1:1/health",
	} {
		if got := healthURL(addr, false); got != want {
			t.Errorf("%s: %s, want %s", addr, got, want)
		}
	}
}
