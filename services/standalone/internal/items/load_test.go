package items

import (
	"bufio"
	"fmt"
	"strings"
	"testing"

	"hangar/client/k2v"
)

// values makes values of words; "-" is a deletion.
func values(text string) (out [][]byte) {
	for _, w := range strings.Fields(text) {
		if w == "-" {
			out = append(out, nil)
		} else {
			out = append(out, []byte(w))
		}
	}
	return out
}

// apply does to an item what a server does that gets the writes one after the
// other: each replaces what its token has seen, which is the item as it was.
func apply(now string, writes []k2v.Insert) string {
	kept := strings.Fields(now)
	if len(writes) > 0 && writes[0].Token != "" {
		kept = nil
	}
	for _, w := range writes {
		v := string(w.Value)
		if w.Delete {
			v = "-"
		}
		kept = append(kept, v)
	}
	return strings.Join(kept, " ")
}

func TestPlan(t *testing.T) {
	for _, c := range []struct{ want, now, kept, replaced string }{
		{"a", "", "a", "a"},
		{"a", "a", "a", "a"},
		{"a b", "a", "a b", "a b"},
		{"a a", "", "a", "a"},
		{"a", "b", "b a", "a"},
		{"a", "a b", "a b", "a"},
		{"a", "-", "a", "a"},
		{"a -", "-", "a -", "a -"},
		{"a -", "a", "a -", "a -"},
		{"a -", "", "a -", "a -"},
		{"a", "a -", "a -", "a"},
		{"-", "a", "a -", "-"},
		{"-", "-", "-", "-"},
	} {
		for _, replace := range []bool{false, true} {
			expect := c.kept
			if replace {
				expect = c.replaced
			}
			now := k2v.Item{Token: "t"}
			for _, v := range values(c.now) {
				if v == nil {
					now.Deleted = true
				} else {
					now.Values = append(now.Values, v)
				}
			}
			if c.now == "" {
				now = k2v.Item{}
			}
			writes := plan(wanted{"p", "s", values(c.want)}, now, replace)
			got := apply(c.now, writes)
			if got != expect {
				t.Errorf("load %q on %q (replace %v): %q, want %q", c.want, c.now, replace, got, expect)
			}
			if got == c.now && len(writes) > 0 {
				t.Errorf("load %q on %q (replace %v) writes for nothing", c.want, c.now, replace)
			}
			for _, w := range writes[min(1, len(writes)):] {
				if w.Token != writes[0].Token {
					t.Errorf("load %q on %q: one write may replace another", c.want, c.now)
				}
			}
		}
	}
}

func TestParse(t *testing.T) {
	good, err := parse([]byte(`{"pk":"p","sk":"s","ct":"x","v":["YQ==",null,""]}` + "\n"))
	if err != nil || fmt.Sprintf("%q", good.values) != `["a" "" ""]` || good.values[1] != nil || good.values[2] == nil {
		t.Errorf("%+v, %v", good, err)
	}
	for _, bad := range []string{"", "{}", `{"pk":"p","sk":"s"}`, `{"pk":"p","sk":"s","v":[]}`, `{"pk":"","sk":"s","v":[null]}`, `{"pk":"p","sk":"s","v":["*"]}`, `{"pk":"p","sk":"s","v":["YQ=="]} {}`, `{"pk":"p","value":"x"}`} {
		if w, err := parse([]byte(bad)); err == nil {
			t.Errorf("%s: %+v", bad, w)
		}
	}
}

func TestReadLine(t *testing.T) {
	long := strings.Repeat("x", 100)
	r := bufio.NewReaderSize(strings.NewReader("a\n"+long+"\nlast"), 16)
	for _, want := range []string{"a\n", long + "\n", "last"} {
		if got, err := readLine(r); err != nil || string(got) != want {
			t.Errorf("%q, %v", got, err)
		}
	}
	if _, err := readLine(r); err == nil {
		t.Error("no end")
	}
}

func TestFind(t *testing.T) {
	t.Chdir(t.TempDir())
	keys := []string{"AWS_ACCESS_KEY_ID=env", "AWS_SECRET_ACCESS_KEY=s", "AWS_DEFAULT_REGION=far", "HANGAR_K2V_ENDPOINT=k2v.example:1"}
	if a, err := (access{}).find("", "", keys); err != nil || a.keyID != "env" || a.region != "far" || a.endpoint != "http://k2v.example:1" {
		t.Errorf("%+v, %v", a, err)
	}
	if a, err := (access{keyID: "flag", secret: "f", endpoint: "https://x"}).find("", "", keys); err != nil || a.keyID != "flag" || a.secret != "f" || a.endpoint != "https://x" {
		t.Errorf("%+v, %v", a, err)
	}
	if _, err := (access{keyID: "flag"}).find("", "", keys); err == nil || !strings.Contains(err.Error(), "half") {
		t.Errorf("a key of one and the secret of another: %v", err)
	}
	if _, err := (access{}).find("", "", nil); err == nil || !strings.Contains(err.Error(), "hangar key create") {
		t.Errorf("no key: %v", err)
	}
	if _, err := (access{}).find("nowhere", "", keys); err == nil || !strings.Contains(err.Error(), "nowhere") {
		t.Errorf("no such directory: %v", err)
	}
}
