package standalone

import (
	"strings"
	"testing"

	"hangar/services/standalone/internal/datadir"
)

func TestEndpoint(t *testing.T) {
	for addr, want := range map[string]string{
		":3900": "http://127.0.0.1:3900", "0.0.0.0:3900": "http://127.0.0.1:3900", "[::]:3900": "http://127.0.0.1:3900",
		"10.1.2.3:80": "http://10.1.2.3:80", "[::1]:3900": "http://[::1]:3900", "store.lan:1": "http://store.lan:1",
	} {
		if got := endpoint(false, addr); got != want {
			t.Errorf("%s: %s, want %s", addr, got, want)
		}
	}
	if got := endpoint(true, ":3900"); got != "https://127.0.0.1:3900" {
		t.Errorf("with TLS: %s", got)
	}
}

func TestLaterStartsKeepTheSecretOutOfTheLog(t *testing.T) {
	access := datadir.Access{S3Endpoint: "http://e", AccessKey: "GK1", SecretKey: "very-secret", AdminEndpoint: "http://a"}
	for _, first := range []bool{true, false} {
		var out strings.Builder
		s := &server{c: Config{Out: &out, Dir: "d"}}
		s.announce(access, first)
		if got := strings.Contains(out.String(), "very-secret"); got != first {
			t.Errorf("first start %t: secret printed %t", first, got)
		}
	}
}

func TestOneServerPerDirectory(t *testing.T) {
	dir := t.TempDir()
	lock, err := lockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lockDir(dir); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a second lock: %v", err)
	}
	lock.Close()
	again, err := lockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
}
