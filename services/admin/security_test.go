package admin_test

import (
	"bytes"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"hangar/services/admin"
	"hangar/shared/control"
)

// Every operation, with every kind of token that must not open it, and with the
// one that does.
func TestTokensOpenWhatTheyShould(t *testing.T) {
	c := readContract(t)
	s := start(t)
	s.boot()
	token := func(name string, scope ...string) (secret, id string) {
		t.Helper()
		secret, made, _, err := s.store.CreateToken(s.ctx(), control.Token{Name: name, Scope: scope})
		if err != nil {
			t.Fatal(err)
		}
		return secret, made.ID
	}
	past := time.Now().Add(-time.Minute)
	expired, _, _, err := s.store.CreateToken(s.ctx(), control.Token{Name: "old", Scope: []string{"*"}, Expiration: &past})
	if err != nil {
		t.Fatal(err)
	}
	deleted, id := token("deleted", "*")
	right := map[string]string{}
	for _, name := range c.names() {
		right[name], _ = token(name, name)
	}
	none, _ := token("none")
	everything, _ := token("everything", "*")
	s.want(200, "POST", "/v2/DeleteAdminToken?id="+id, nil) // waits until all of that is known here

	admin := s.token
	for _, name := range c.names() {
		o := c.operations[name]
		wrong := right["ListKeys"]
		if name == "ListKeys" {
			wrong = right["ListBuckets"]
		}
		for what, tok := range map[string]string{
			"no token": "", "a garbage token": "x", "a token that is too long": admin + "x", "a token that is too short": admin[:len(admin)-1],
			"half a token": strings.Split(everything, ".")[0] + ".", "an altered token": everything[:len(everything)-1] + "x",
			"a token of wrong scope": wrong, "a token of no scope": none, "an expired token": expired, "a deleted token": deleted,
		} {
			s.token = tok
			a := s.call(o.method, o.path, nil)
			switch {
			case o.open && a.status == http.StatusForbidden:
				t.Errorf("%s with %s: refused", name, what)
			case !o.open && (a.status != http.StatusForbidden || a.json["code"] != "AccessDenied" || a.json["path"] != o.path || a.json["region"] != "hangar"):
				t.Errorf("%s with %s: %d %s", name, what, a.status, a.body)
			}
		}
		for what, tok := range map[string]string{"the admin token": admin, "a token of its scope": right[name], "a token for everything": everything} {
			s.token = tok
			if a := s.call(o.method, o.path, nil); a.status == http.StatusForbidden {
				t.Errorf("%s with %s: %s", name, what, a.body)
			}
		}
	}
	for _, path := range []string{"/v2/Unknown", "/v2/ListKeys/"} {
		s.token = ""
		if a := s.call("GET", path, nil); a.status != http.StatusForbidden {
			t.Errorf("%s without a token: %d", path, a.status)
		}
	}
	s.want(403, "PUT", "/v2/ListKeys", nil)
	s.token = "metrics-token"
	if a := s.want(200, "GET", "/metrics", nil); !strings.Contains(string(a.body), "hangar_admin_requests_total") {
		t.Error("no metrics")
	}
	s.want(403, "GET", "/v2/ListKeys", nil)
}

// Who may make tokens cannot make one that may more than the maker's.
func TestATokenGivesAwayNoMoreThanItHas(t *testing.T) {
	s := start(t)
	s.boot()
	scope := []string{"CreateAdminToken", "UpdateAdminToken", "ListKeys"}
	soon := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	maker := s.want(200, "POST", "/v2/CreateAdminToken", m{"name": "maker", "scope": scope, "expiration": soon}).json
	other := s.want(200, "POST", "/v2/CreateAdminToken", m{"name": "other", "scope": []string{"ListBuckets"}}).json
	s.token = maker["secretToken"].(string)
	child := s.want(200, "POST", "/v2/CreateAdminToken", m{}).json
	if got := child["scope"].([]any); len(got) != len(scope) || child["expiration"] != soon.Format(time.RFC3339) {
		t.Errorf("%v", child)
	}
	child = s.want(200, "POST", "/v2/CreateAdminToken", m{"scope": []string{"ListKeys"}}).json
	for _, bad := range []m{
		{"scope": []string{"*"}}, {"scope": []string{"ListKeys", "ListBuckets"}},
		{"neverExpires": true}, {"expiration": soon.Add(time.Minute)},
	} {
		s.want(403, "POST", "/v2/CreateAdminToken", bad)
		s.want(403, "POST", "/v2/UpdateAdminToken?id="+child["id"].(string), bad)
		s.want(403, "POST", "/v2/UpdateAdminToken?id="+maker["id"].(string), bad)
	}
	s.want(403, "POST", "/v2/UpdateAdminToken?id="+other["id"].(string), m{"name": "mine now"})
	s.want(200, "POST", "/v2/UpdateAdminToken?id="+child["id"].(string), m{"scope": []string{}})
}

// Secrets are answered where they are asked for, stored hashed if they are
// tokens, and never logged, also not of requests that fail.
func TestSecretsStayWhereTheyBelong(t *testing.T) {
	s := start(t)
	s.boot()
	log := &buffer{}
	url := s.logging(log)
	s.url = url
	const secret = "secret-of-an-imported-key"
	key := s.want(200, "POST", "/v2/ImportKey", m{"accessKeyId": "GKimported1", "secretAccessKey": secret}).json
	s.want(409, "POST", "/v2/ImportKey", m{"accessKeyId": "GKimported1", "secretAccessKey": secret})
	made := s.want(200, "POST", "/v2/CreateAdminToken", m{"name": "n"}).json["secretToken"].(string)
	own := s.want(200, "POST", "/v2/CreateKey", m{}).json
	id := own["accessKeyId"].(string)
	if key["secretAccessKey"] != secret || own["secretAccessKey"] == nil {
		t.Error("a new key's secret is not answered")
	}
	random := strings.Split(made, ".")[1]
	secrets := []string{secret, own["secretAccessKey"].(string), random, token, "metrics-token"}
	for _, path := range []string{"/v2/ListKeys", "/v2/GetKeyInfo?id=" + id, "/v2/GetKeyInfo?id=GKimported1", "/v2/ListAdminTokens", "/v2/ListBuckets", "/v2/GetKeyInfo?id=" + id + "&showSecretKey=false"} {
		refuse(t, path, string(s.want(200, "GET", path, nil).body), secrets)
	}
	refuse(t, "UpdateKey", string(s.want(200, "POST", "/v2/UpdateKey?id="+id, m{"name": "x"}).body), secrets)
	export := filepath.Join(t.TempDir(), "export")
	if err := s.mirrors[0].Export(export); err != nil {
		t.Fatal(err)
	}
	stored, err := os.ReadFile(export)
	if err != nil || !strings.Contains(string(stored), strings.Split(made, ".")[0]) || strings.Contains(string(stored), random) {
		t.Errorf("a token's secret is stored: %v", err)
	}
	s.call("POST", "/v2/ImportKey?secret="+secret, m{"accessKeyId": 3, "secretAccessKey": secret})
	// A failure that is logged: this process has no metadata service.
	s.want(503, "GET", "/v2/GetBucketInfo?globalAlias=first&secret="+secret, nil)
	if log.String() == "" {
		t.Error("nothing was logged, so this looked at nothing")
	}
	refuse(t, "the log", log.String(), secrets)
}

func refuse(t *testing.T, where, text string, secrets []string) {
	t.Helper()
	for _, secret := range secrets {
		if strings.Contains(text, secret) {
			t.Errorf("%s holds a secret: %s", where, text)
		}
	}
}

// buffer collects a log.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer // guarded by mu
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// logging starts an admin process that logs everything, and returns where it
// answers.
func (s *site) logging(to *buffer) (url string) {
	s.t.Helper()
	conn, mirror := s.join("admin", nil)
	svc, err := admin.New(s.ctx(), admin.Config{Addr: "127.0.0.1:0", Token: token, MetricsToken: "metrics-token"}, admin.Deps{
		Conn: conn, Mirror: mirror, Log: slog.New(slog.NewJSONHandler(to, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.run(svc.Run)
	<-svc.Ready()
	return "http://" + svc.Addr().String()
}

// Bodies and headers are bounded, and what is too large is refused before it is
// looked at.
func TestRequestsAreBounded(t *testing.T) {
	s := start(t)
	s.boot()
	many := make([]string, 1001)
	for i := range many {
		many[i] = strings.Repeat("00", 32)
	}
	s.want(400, "POST", "/v2/PurgeBlocks?node=*", many)
	s.want(400, "POST", "/v2/ConnectClusterNodes", many)
	s.want(400, "POST", "/v2/CreateAdminToken", m{"name": strings.Repeat("x", 257)})
	s.want(400, "POST", "/v2/CreateKey", m{"name": strings.Repeat("x", 257)})
	s.want(400, "GET", "/v2/InspectObject?bucketId="+strings.Repeat("0", 32)+"&key="+strings.Repeat("x", 1025), nil)
	s.want(400, "GET", "/check?domain="+strings.Repeat("x", 254), nil)
	req, err := http.NewRequestWithContext(s.ctx(), http.MethodPost, s.url+"/v2/CreateKey", bytes.NewReader(make([]byte, 2<<20)))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err == nil { // the server may close the connection instead
		if resp.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("%d for a body of 2 MiB", resp.StatusCode)
		}
		_ = resp.Body.Close()
	}
}
