package s3

import (
	"encoding/xml"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"hangar/services/gateway/internal/httpd"
	"hangar/services/gateway/internal/objects"
	"hangar/shared/fault"
	"hangar/shared/object"
)

func TestLocate(t *testing.T) {
	const root = ".s3.example.org"
	for _, c := range []struct{ host, path, bucket, key string }{
		{"s3.example.org", "/", "", ""}, {"s3.example.org", "/b", "b", ""}, {"s3.example.org", "/b/", "b", ""},
		{"other:3900", "/b/k", "b", "k"}, {"[::1]:3900", "/b//k/", "b", "/k/"}, {"x", "/b/a%2Fb%20+", "b", "a/b +"},
		{"x", "/b/../c", "b", "../c"}, {"photos.s3.example.org", "/", "photos", ""}, {"Photos.S3.example.org:80", "/a/b", "photos", "a/b"},
		{"a.b.s3.example.org", "//k", "a.b", "/k"}, {"photos.s3.example.org.:80", "/a/b", "photos", "a/b"}, {"x", "/b/%25", "b", "%"}, {"", "/b/k", "b", "k"},
	} {
		got, err := locate(c.host, c.path, root)
		if err != nil || got != (target{c.bucket, c.key}) {
			t.Errorf("%s %s: got %+v, %v", c.host, c.path, got, err)
		}
	}
	for _, path := range []string{"", "b", "//k", "/b/%", "/b/%2", "/b/%gg", "/b/%ff", "/%80", "/b/" + strings.Repeat("k", object.MaxKeyBytes+1)} {
		if got, err := locate("x", path, root); err == nil {
			t.Errorf("%q: got %+v, want an error", path, got)
		}
	}
}

func TestParseRange(t *testing.T) {
	for header, want := range map[string]*objects.Range{
		"bytes=0-9": {First: 0, Last: 9}, "bytes=5-": {First: 5, Last: -1}, "bytes=-3": {First: -1, Last: 3}, "bytes=-0": {First: -1, Last: 0},
		"": nil, "bytes": nil, "bytes=": nil, "bytes=-": nil, "bytes=5": nil, "bytes=9-5": nil, "bytes=+1-2": nil, "bytes=1--2": nil,
		"bytes=1-2,4-5": nil, "items=1-2": nil, "bytes=99999999999999999999-": nil, "bytes=1 -2": nil,
	} {
		got := parseRange(header)
		if (got == nil) != (want == nil) || got != nil && *got != *want {
			t.Errorf("%q: got %+v, want %+v", header, got, want)
		}
	}
}

func TestTables(t *testing.T) {
	for s, r := range routes {
		if r.op == "" || r.serve == nil {
			t.Errorf("%+v has no operation", s)
		}
	}
	for k := range 17 {
		if e := describe(fmt.Errorf("x: %w", faultOf(k))); e.status < 400 || e.name == "" {
			t.Errorf("kind %d has no answer: %+v", k, e)
		}
	}
	seen := map[error]bool{}
	for _, s := range sentinels {
		if seen[s.err] {
			t.Errorf("%v stands twice in the table", s.err)
		}
		seen[s.err] = true
	}
}

func TestMetadataText(t *testing.T) {
	for in, want := range map[string]string{
		"plain": "plain", "=?UTF-8?Q?gr=C3=BC=C3=9Fe?=": "grüße", "=?utf-8?b?Z3LDvMOfZQ==?=": "grüße",
		"gr\xfc\xdfe": "grüße", "=?broken": "=?broken", "=?x-unknown?Q?a?=": "=?x-unknown?Q?a?=",
	} {
		if got := decodeText(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
	for _, s := range []string{"plain", "grüße", "a\r\nb", strings.Repeat("日本", 100)} {
		sent := encodeText(s)
		if !visible(sent) || decodeText(sent) != s {
			t.Errorf("%q went out as %q and comes back as %q", s, sent, decodeText(sent))
		}
	}
}

func FuzzRange(f *testing.F) {
	for _, s := range []string{"bytes=0-9", "bytes=-5", "bytes=5-", "bytes=1-2,3-4", "bytes=9223372036854775807-"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r := parseRange(s)
		if r == nil {
			return
		}
		if r.First < -1 || r.Last < -1 || r.First == -1 && r.Last == -1 || r.First >= 0 && r.Last >= 0 && r.First > r.Last {
			t.Errorf("%q: %+v", s, r)
		}
	})
}

func FuzzCopySource(f *testing.F) {
	for _, s := range []string{"b/k", "/b/k", "%2Fb%2Fk", "b/k?versionId=null", "b/a+b%20c", "arn:aws:s3:::b/k"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		at, err := copySource(s)
		if err == nil && (at.bucket == "" || at.key == "" || len(at.key) > object.MaxKeyBytes || !utf8.ValidString(at.key) || strings.Contains(at.bucket, "/")) {
			t.Errorf("%q: %+v", s, at)
		}
	})
}

func FuzzTarget(f *testing.F) {
	for _, s := range []string{"/b/k", "/b//k", "/b/%2F", "/%00/%0a", "/b/a+b"} {
		f.Add("b.s3.local:80", s, "prefix=a%20b&list-type=2")
	}
	f.Fuzz(func(t *testing.T, host, path, query string) {
		at, err := locate(host, path, ".s3.local")
		if err == nil && (!utf8.ValidString(at.key) || len(at.key) > object.MaxKeyBytes) {
			t.Errorf("%q %q: %+v", host, path, at)
		}
		// What has no '+' and no escape twice over decodes as net/url does.
		if want, e := url.PathUnescape(path); e == nil && utf8.ValidString(want) {
			if got, err := unescape(path, false); err != nil || got != want {
				t.Errorf("%q: got %q, %v; want %q", path, got, err, want)
			}
		}
		q, err := parseQuery(query)
		if err == nil && len(q) > maxParameters {
			t.Errorf("%d parameters", len(q))
		}
		for _, m := range []string{get, put, post, del, head} {
			if r, err := findRoute(m, at.scope(), q, false); (r == nil) == (err == nil) {
				t.Errorf("%s %q: %v, %v", m, query, r, err)
			}
		}
	})
}

func FuzzDocuments(f *testing.F) {
	f.Add([]byte(`<Delete xmlns="x"><Quiet>true</Quiet><Object><Key>a</Key><VersionId>1</VersionId></Object></Delete>`))
	f.Add([]byte(`<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>&quot;x&quot;</ETag></Part></CompleteMultipartUpload>`))
	f.Add([]byte(`<!DOCTYPE a [<!ENTITY b "c">]><Delete>&b;</Delete>`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var d deleteDocument
		var c completeDocument
		var b createConfiguration
		for _, v := range []any{&d, &c, &b} {
			if err := parseXML(raw, v); err == nil && strings.Contains(string(raw), "<!DOCTYPE") && !strings.Contains(string(raw), "<!--") && !strings.Contains(string(raw), "CDATA") {
				t.Errorf("%q was taken", raw)
			}
		}
	})
}

func FuzzText(f *testing.F) {
	f.Add("a<b>&\"'\r\n\t é \ufffe")
	f.Fuzz(func(t *testing.T, s string) {
		x := &document{}
		x.el("Key", s)
		if !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool {
			return r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0xFFFE || r == 0xFFFF
		}) {
			return // no XML parser takes these back
		}
		var got string
		if err := xml.Unmarshal(x.b, &got); err != nil || got != s {
			t.Errorf("%q became %s, read as %q, %v", s, x.b, got, err)
		}
		if back, err := url.QueryUnescape(string(appendURL(nil, s))); err != nil || back != s {
			t.Errorf("%q became %s", s, appendURL(nil, s))
		}
		if after, err := readToken(makeToken(s)); len(s) <= object.MaxKeyBytes && (err != nil || after != s) {
			t.Errorf("%q: token read as %q, %v", s, after, err)
		}
	})
}

func BenchmarkListing(b *testing.B) {
	page := objects.Listing{More: true, Next: "x"}
	for i := range maxPage {
		page.Objects = append(page.Objects, objects.Info{
			Location: objects.Location{Key: fmt.Sprintf("some/folder/file-%08d.jpg", i)}, Size: 123456, ETag: strings.Repeat("a", 32)})
	}
	a := New(Options{Owner: "owner"})
	c := &call{req: &requestForBench, at: target{bucket: "b"}}
	for b.Loop() {
		l := listing{c: c}
		l.begin()
		l.finish(a, &page).Stream.Close()
	}
	b.ReportMetric(float64(maxPage)*float64(b.N)/b.Elapsed().Seconds(), "keys/s")
}

var requestForBench httpd.Request

func faultOf(kind int) error { return fault.New(fault.Kind(kind), "x") }

// A document that is small on the wire must not become large in memory.
func TestEndlessListsAreRefused(t *testing.T) {
	entries := func(n int) []byte {
		return []byte("<Delete>" + strings.Repeat("<Object></Object>", n) + "</Delete>")
	}
	var doc deleteDocument
	if err := parseXML(entries(maxElements-1), &doc); err != nil || len(doc.Objects) != maxElements-1 {
		t.Errorf("%d entries: %v", len(doc.Objects), err)
	}
	doc = deleteDocument{}
	if err := parseXML(entries(maxElements), &doc); err == nil {
		t.Errorf("%d entries are taken", len(doc.Objects))
	}
}
