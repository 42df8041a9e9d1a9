package adminclient

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hangar/services/standalone/internal/datadir"
)

func TestFind(t *testing.T) {
	named, secured, cwd := t.TempDir(), t.TempDir(), t.TempDir()
	t.Chdir(cwd)
	if err := os.Mkdir("data", 0o700); err != nil {
		t.Fatal(err)
	}
	for dir, a := range map[string]datadir.Access{
		named:      {AdminEndpoint: "http://named:1", AdminToken: "named-token"},
		secured:    {AdminEndpoint: "https://secured:1", AdminToken: "secured-token", CA: "ca.pem"},
		DefaultDir: {AdminEndpoint: "http://default:2", AdminToken: "default-token"},
	} {
		if err := datadir.WriteAccess(dir, a); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("file-token\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	endpoint, token := "HANGAR_ADMIN_ENDPOINT=http://env:3", "HANGAR_ADMIN_TOKEN=env-token"
	for _, c := range []struct {
		name  string
		given Given
		env   []string
		want  Access
	}{
		{"the default directory", Given{}, nil, Access{Endpoint: "http://default:2", Token: "default-token"}},
		{"a directory", Given{Dir: named}, nil, Access{Endpoint: "http://named:1", Token: "named-token"}},
		{"a directory with a certificate", Given{Dir: secured}, nil, Access{"https://secured:1", "secured-token", filepath.Join(secured, "ca.pem")}},
		{"environment", Given{}, []string{endpoint, token}, Access{Endpoint: "http://env:3", Token: "env-token"}},
		{"file", Given{}, []string{endpoint, "HANGAR_ADMIN_TOKEN_FILE=" + file, "HANGAR_S3_ADDR=:1"}, Access{Endpoint: "http://env:3", Token: "file-token"}},
		{"flags before environment", Given{Access: Access{Endpoint: "flag:4", Token: "flag-token"}}, []string{endpoint, token}, Access{Endpoint: "http://flag:4", Token: "flag-token"}},
		{"environment before directory", Given{Dir: named}, []string{token}, Access{Endpoint: "http://named:1", Token: "env-token"}},
		{"no token to an address that lies about", Given{}, []string{token}, Access{Endpoint: DefaultEndpoint, Token: "env-token"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got, err := Find(c.given, c.env); err != nil || got != c.want {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
	// Nor is a token that lies about sent to an address that was given.
	if got, err := Find(Given{}, []string{endpoint}); err == nil {
		t.Errorf("an address alone: %+v", got)
	}
	for what, g := range map[string]Given{"no server has run": {Dir: t.TempDir()}, "nowhere": {Dir: filepath.Join(named, "none")}} {
		if _, err := Find(g, nil); err == nil || !strings.Contains(err.Error(), datadir.AccessFile) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
