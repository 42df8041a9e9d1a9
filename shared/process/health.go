package process

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// healthTimeout bounds a question for health.
const healthTimeout = 5 * time.Second

// AskHealth returns nil when a process says that it is healthy, else why not.
// Of TLS it checks nothing: it is for asking on the machine itself, and what is
// learnt is no secret.
func AskHealth(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	t := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true} //nolint:gosec // see above
	resp, err := (&http.Client{Transport: t}).Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		b, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10)) // only to explain
		return fmt.Errorf("not healthy: %s %s", resp.Status, bytes.TrimSpace(b))
	}
	return nil
}

// healthURL is where a process on this machine that listens on addr says how it is.
func healthURL(addr string, encrypted bool) string {
	host, port, err := net.SplitHostPort(addr)
	if ip := net.ParseIP(host); err == nil && (host == "" || ip != nil && ip.IsUnspecified()) {
		addr = net.JoinHostPort("127.0.0.1", port)
	}
	scheme := "http"
	if encrypted {
		scheme = "https"
	}
	return strings.Join([]string{scheme, "://", addr, "/health"}, "")
}
