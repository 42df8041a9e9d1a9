package adminclient

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hangar/services/standalone/internal/datadir"
)

func TestFind(t *testing.T) {
	named, cwd := t.TempDir(), t.TempDir()
	t.Chdir(cwd)
	if err := os.Mkdir("data", 0o700); err != nil {
		t.Fatal(err)
	}
	for dir, a := range map[string]datadir.Access{
		named:      {AdminEndpoint: "http://named:1", AdminToken: "named-token"},
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
		{"the default directory", Given{}, nil, Access{"http://default:2", "default-token"}},
		{"a directory", Given{Dir: named}, nil, Access{"http://named:1", "named-token"}},
		{"environment", Given{}, []string{endpoint, token}, Access{"http://env:3", "env-token"}},
		{"file", Given{}, []string{endpoint, "HANGAR_ADMIN_TOKEN_FILE=" + file, "HANGAR_S3_ADDR=:1"}, Access{"http://env:3", "file-token"}},
		{"flags before environment", Given{Access: Access{"flag:4", "flag-token"}}, []string{endpoint, token}, Access{"http://flag:4", "flag-token"}},
		{"environment before directory", Given{Dir: named}, []string{token}, Access{"http://named:1", "env-token"}},
		{"no token to an address that lies about", Given{}, []string{token}, Access{DefaultEndpoint, "env-token"}},
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
