package k2v_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"hangar/services/gateway/internal/httpd"
)

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

const (
	acceptBinary = "Accept: application/octet-stream"
	acceptJSON   = "Accept: application/json"
)

// TestSingleItems are the examples of ReadItem, InsertItem and DeleteItem.
func TestSingleItems(t *testing.T) {
	e := start(t, httpd.Config{})
	const inbox = " /my_bucket/mailboxes?sort_key=INBOX"
	if r := e.want(e.do("GET"+inbox, ""), 404, "*"); r.code(t) != "NoSuchKey" {
		t.Error(r.body)
	}
	e.want(e.do("PUT"+inbox, "cryptoblob123"), 204, "")
	one := e.want(e.do("GET"+inbox, "", acceptBinary), 200, "cryptoblob123")
	if one.header.Get("Content-Type") != "application/octet-stream" || one.token() == "" {
		t.Errorf("header %v", one.header)
	}
	for _, accept := range []string{acceptJSON, "Accept: text/html, application/json;q=0.9"} {
		r := e.want(e.do("GET"+inbox, "", accept), 200, `["`+b64("cryptoblob123")+`"]`)
		if r.header.Get("Content-Type") != "application/json" || r.token() != one.token() {
			t.Errorf("header %v", r.header)
		}
	}
	e.want(e.do("GET"+inbox, ""), 200, `["`+b64("cryptoblob123")+`"]`)
	for _, accept := range []string{"Accept: */*", "Accept: application/octet-stream, application/json"} {
		e.want(e.do("GET"+inbox, "", accept), 200, "cryptoblob123")
	}
	if r := e.want(e.do("GET"+inbox, "", "Accept: text/html"), 406, "*"); r.code(t) != "NotAcceptable" {
		t.Error(r.body)
	}

	// Two that did not know of each other.
	e.want(e.do("PUT"+inbox, "cryptoblob'123"), 204, "")
	both := e.want(e.do("GET"+inbox, ""), 200, `["`+b64("cryptoblob123")+`","`+b64("cryptoblob'123")+`"]`)
	e.want(e.do("GET"+inbox, "", "Accept: */*"), 200, `["`+b64("cryptoblob123")+`","`+b64("cryptoblob'123")+`"]`)
	if r := e.want(e.do("GET"+inbox, "", acceptBinary), 409, ""); r.token() != both.token() || r.header.Get("Content-Type") != "application/octet-stream" {
		t.Errorf("header %v", r.header)
	}
	token := "X-Garage-Causality-Token: "
	e.want(e.do("PUT"+inbox, "myblobblahblahblah", token+one.token()), 204, "") // supersedes the first only
	e.want(e.do("GET"+inbox, ""), 200, `["`+b64("cryptoblob'123")+`","`+b64("myblobblahblahblah")+`"]`)
	all := e.do("GET"+inbox, "")
	e.want(e.do("PUT"+inbox, "", token+all.token()), 204, "")
	e.want(e.do("GET"+inbox, "", acceptBinary), 200, "") // an empty value
	e.want(e.do("GET"+inbox, ""), 200, `[""]`)

	if r := e.want(e.do("DELETE"+inbox, ""), 400, "*"); r.code(t) != "InvalidRequest" {
		t.Error(r.body)
	}
	e.want(e.do("DELETE"+inbox, "", token+e.do("GET"+inbox, "").token()), 204, "")
	gone := e.want(e.do("GET"+inbox, "", acceptBinary), 204, "")
	if gone.token() == "" || gone.header.Get("Content-Type") != "application/octet-stream" {
		t.Errorf("header %v", gone.header)
	}
	e.want(e.do("GET"+inbox, ""), 200, `[null]`)
	e.want(e.do("PUT"+inbox, "again"), 204, "")
	e.want(e.do("GET"+inbox, ""), 200, `[null,"`+b64("again")+`"]`)
	e.want(e.do("PUT"+inbox, "again", token+gone.token()), 204, "")
	e.want(e.do("GET"+inbox, ""), 200, `["`+b64("again")+`"]`) // equal values are read as one
}

func TestKeysAsTheyAre(t *testing.T) {
	e := start(t, httpd.Config{})
	for _, k := range [][2]string{{"root@plépp", "≤≤««"}, {"a/b//c/", "x y+z"}, {"/lead", "%2F"}, {"q?#&=", "q?#&="}} {
		path := " /my_bucket/" + strings.NewReplacer("?", "%3F", "#", "%23", "é", "%C3%A9", "@", "%40").Replace(k[0])
		query := "?sort_key=" + escapeQuery(k[1])
		e.want(e.do("PUT"+path+query, "v"), 204, "")
		e.want(e.do("GET"+path+query, "", acceptBinary), 200, "v")
		pk, _ := json.Marshal(k[0])
		sk, _ := json.Marshal(k[1])
		r := e.do("POST /my_bucket?search", `[{"partitionKey":`+string(pk)+`}]`)
		if !strings.Contains(canonical(r.body), `"sk":`+canonical(string(sk))) {
			t.Errorf("%q: %s", k, r.body)
		}
	}
}

func escapeQuery(s string) string {
	var b strings.Builder
	for i := range len(s) {
		b.WriteString("%" + strings.ToUpper(string("0123456789abcdef"[s[i]>>4])+string("0123456789abcdef"[s[i]&15])))
	}
	return b.String()
}

// TestIndex is the example of ReadIndex.
func TestIndex(t *testing.T) {
	e := start(t, httpd.Config{})
	e.want(e.do("GET /my_bucket", ""), 200, `{"prefix":null,"start":null,"end":null,"limit":null,"reverse":false,"partitionKeys":[],"more":false,"nextStart":null}`)
	for _, k := range []string{"keys", "mailbox:INBOX", "mailbox:Junk", "mailbox:Trash", "mailboxes"} {
		e.want(e.do("PUT /my_bucket/"+k+"?sort_key=1", "abc"), 204, "")
		e.want(e.do("PUT /my_bucket/"+k+"?sort_key=2", "de"), 204, "")
	}
	e.want(e.do("PUT /my_bucket/mailbox:INBOX?sort_key=1", "concurrent"), 204, "")
	entry := func(pk, rest string) string { return `{"pk":"` + pk + `",` + rest + `}` }
	plain, conflict := `"entries":2,"conflicts":0,"values":2,"bytes":5`, `"entries":2,"conflicts":1,"values":3,"bytes":15`
	e.want(e.do("GET /my_bucket", ""), 200, `{"prefix":null,"start":null,"end":null,"limit":null,"reverse":false,"partitionKeys":[`+
		entry("keys", plain)+","+entry("mailbox:INBOX", conflict)+","+entry("mailbox:Junk", plain)+","+entry("mailbox:Trash", plain)+","+entry("mailboxes", plain)+
		`],"more":false,"nextStart":null}`)
	e.want(e.do("GET /my_bucket?prefix=mailbox%3A&limit=2", ""), 200, `{"prefix":"mailbox:","start":null,"end":null,"limit":2,"reverse":false,"partitionKeys":[`+
		entry("mailbox:INBOX", conflict)+","+entry("mailbox:Junk", plain)+`],"more":true,"nextStart":"mailbox:Trash"}`)
	e.want(e.do("GET /my_bucket?start=mailbox%3ATrash&end=keys&reverse=true", ""), 200, `{"prefix":null,"start":"mailbox:Trash","end":"keys","limit":null,"reverse":true,"partitionKeys":[`+
		entry("mailbox:Trash", plain)+","+entry("mailbox:Junk", plain)+","+entry("mailbox:INBOX", conflict)+`],"more":false,"nextStart":null}`)
	e.want(e.do("GET /my_bucket?prefix=a&start=b", ""), 400, "*")
	e.want(e.do("GET /my_bucket?limit=x", ""), 400, "*")
}

// TestBatches are the examples of InsertBatch, ReadBatch and DeleteBatch.
func TestBatches(t *testing.T) {
	e := start(t, httpd.Config{})
	e.want(e.do("POST /my_bucket", `[
		{"pk":"mailboxes","sk":"INBOX","ct":null,"v":"`+b64("1")+`"},
		{"pk":"mailboxes","sk":"INBOX","v":"`+b64("1'")+`"},
		{"pk":"mailboxes","sk":"Junk","ct":null,"v":"`+b64("2")+`"},
		{"pk":"mailboxes","sk":"Gone","ct":null,"v":null},
		{"pk":"mailbox:INBOX","sk":"001892831","ct":null,"v":"`+b64("a")+`"},
		{"pk":"mailbox:INBOX","sk":"001892832","ct":null,"v":"`+b64("b")+`"},
		{"pk":"mailbox:INBOX","sk":"001892874","ct":null,"v":"`+b64(strings.Repeat("c", 5000))+`"},
		{"pk":"mailbox:INBOX","sk":"001892898","ct":null,"v":"`+b64("d")+`"},
		{"pk":"keys","sk":"0","ct":null,"v":"`+b64("k")+`"}]`), 204, "")
	ct := func(pk, sk string) string { return e.do("GET /my_bucket/"+pk+"?sort_key="+sk, "").token() }
	const search = `[{"partitionKey":"mailboxes"},{"partitionKey":"mailbox:INBOX","start":"001892831","limit":3},{"partitionKey":"keys","start":"0","singleItem":true}]`
	rest := `"reverse":false,"conflictsOnly":false,"tombstones":false,`
	want := fill(`[
		{"partitionKey":"mailboxes","prefix":null,"start":null,"end":null,"limit":null,`+rest+`"singleItem":false,"items":[
			{"sk":"INBOX","ct":"$1","v":["`+b64("1")+`","`+b64("1'")+`"]},{"sk":"Junk","ct":"$2","v":["`+b64("2")+`"]}],"more":false,"nextStart":null},
		{"partitionKey":"mailbox:INBOX","prefix":null,"start":"001892831","end":null,"limit":3,`+rest+`"singleItem":false,"items":[
			{"sk":"001892831","ct":"$3","v":["`+b64("a")+`"]},{"sk":"001892832","ct":"$4","v":["`+b64("b")+`"]},
			{"sk":"001892874","ct":"$5","v":["`+b64(strings.Repeat("c", 5000))+`"]}],"more":true,"nextStart":"001892898"},
		{"partitionKey":"keys","prefix":null,"start":"0","end":null,"limit":null,`+rest+`"singleItem":true,"items":[
			{"sk":"0","ct":"$6","v":["`+b64("k")+`"]}],"more":false,"nextStart":null}]`,
		ct("mailboxes", "INBOX"), ct("mailboxes", "Junk"), ct("mailbox:INBOX", "001892831"), ct("mailbox:INBOX", "001892832"),
		ct("mailbox:INBOX", "001892874"), ct("keys", "0"))
	e.want(e.do("POST /my_bucket?search", search), 200, want)
	e.want(e.do("SEARCH /my_bucket", search), 200, want)

	list := func(s string) (sorts []string) {
		r := e.want(e.do("SEARCH /my_bucket", "["+s+"]"), 200, "*")
		var out []struct{ Items []struct{ Sk string } }
		if err := json.Unmarshal([]byte(r.body), &out); err != nil || len(out) != 1 {
			t.Fatalf("%s: %v", r.body, err)
		}
		for _, i := range out[0].Items {
			sorts = append(sorts, i.Sk)
		}
		return sorts
	}
	for in, want := range map[string]string{
		`{"partitionKey":"mailboxes","conflictsOnly":true}`:                                     "INBOX",
		`{"partitionKey":"mailboxes","tombstones":true}`:                                        "Gone INBOX Junk",
		`{"partitionKey":"mailboxes","tombstones":true,"reverse":true}`:                         "Junk INBOX Gone",
		`{"partitionKey":"mailbox:INBOX","prefix":"00189283"}`:                                  "001892831 001892832",
		`{"partitionKey":"mailbox:INBOX","prefix":"00189283","reverse":true}`:                   "001892832 001892831",
		`{"partitionKey":"mailbox:INBOX","start":"001892874","end":"001892831","reverse":true}`: "001892874 001892832",
		`{"partitionKey":"mailbox:INBOX","end":"001892832"}`:                                    "001892831",
		`{"partitionKey":"mailbox:INBOX","end":""}`:                                             "",
		`{"partitionKey":"mailbox:INBOX","start":"","reverse":true}`:                            "",
		`{"partitionKey":"mailboxes","start":"Gone","singleItem":true}`:                         "",
		`{"partitionKey":"mailboxes","start":"Gone","singleItem":true,"tombstones":true}`:       "Gone",
		`{"partitionKey":"nothing"}`:                                                            "",
	} {
		if got := strings.Join(list(in), " "); got != want {
			t.Errorf("%s: got %q, want %q", in, got, want)
		}
	}

	e.want(e.do("POST /my_bucket?delete", `[{"partitionKey":"mailboxes"},{"partitionKey":"mailbox:INBOX","start":"001892831","singleItem":true},
		{"partitionKey":"mailbox:INBOX","prefix":"00189287","limit":null,"reverse":false,"conflictsOnly":false,"tombstones":false},
		{"partitionKey":"keys","start":"none","singleItem":true}]`), 200, `[
		{"partitionKey":"mailboxes","prefix":null,"start":null,"end":null,"singleItem":false,"deletedItems":2},
		{"partitionKey":"mailbox:INBOX","prefix":null,"start":"001892831","end":null,"singleItem":true,"deletedItems":1},
		{"partitionKey":"mailbox:INBOX","prefix":"00189287","start":null,"end":null,"singleItem":false,"deletedItems":1},
		{"partitionKey":"keys","prefix":null,"start":"none","end":null,"singleItem":true,"deletedItems":0}]`)
	e.want(e.do("GET /my_bucket/mailboxes?sort_key=INBOX", ""), 200, "[null]")
	if got := strings.Join(list(`{"partitionKey":"mailbox:INBOX"}`), " "); got != "001892832 001892898" {
		t.Errorf("left: %q", got)
	}
	// Pages of a long range.
	var batch []string
	for i := range 2500 {
		batch = append(batch, `{"pk":"long","sk":"`+strings.Repeat("0", 5-len(itoa(i)))+itoa(i)+`","ct":null,"v":"`+b64(itoa(i))+`"}`)
	}
	e.want(e.do("POST /my_bucket", "["+strings.Join(batch, ",")+"]"), 204, "")
	for _, s := range []string{`{"partitionKey":"long"}`, `{"partitionKey":"long","reverse":true}`} {
		if got := list(s); len(got) != 2500 {
			t.Errorf("%s: %d items", s, len(got))
		}
	}
	e.want(e.do("POST /my_bucket?delete", `[{"partitionKey":"long"}]`), 200, `[{"partitionKey":"long","prefix":null,"start":null,"end":null,"singleItem":false,"deletedItems":2500}]`)
}

// TestSearches: what is in a range, and where the next one starts. Tombstones
// that are not asked for count towards no limit, however many they are.
func TestSearches(t *testing.T) {
	e := start(t, httpd.Config{})
	var batch []string
	for i := range 1000 {
		batch = append(batch, `{"pk":"root","sk":"b`+itoa(1000+i)+`","ct":null,"v":null}`)
	}
	for _, sort := range []string{"a", "c", "d.1", "d.2", "e"} {
		batch = append(batch, `{"pk":"root","sk":"`+sort+`","ct":null,"v":"`+b64(sort)+`"}`)
	}
	batch = append(batch, `{"pk":"root","sk":"d.2","ct":null,"v":"`+b64("other")+`"}`)
	e.want(e.do("POST /my_bucket", "["+strings.Join(batch, ",")+"]"), 204, "")
	for in, want := range map[string]string{
		``:                                           "a c d.1 d.2 e",
		`"start":"c"`:                                "c d.1 d.2 e",
		`"start":"c","end":"dynamite"`:               "c d.1 d.2",
		`"start":"c","end":"a","reverse":true`:       "c",
		`"start":"bb","end":"","reverse":true`:       "a",
		`"limit":1`:                                  "a; c",
		`"limit":2`:                                  "a c; d.1",
		`"limit":0`:                                  "; a",
		`"limit":5`:                                  "a c d.1 d.2 e",
		`"limit":4,"reverse":true`:                   "e d.2 d.1 c; a",
		`"prefix":"d"`:                               "d.1 d.2",
		`"prefix":"d.","end":"d.2"`:                  "d.1",
		`"prefix":"d.","limit":1`:                    "d.1; d.2",
		`"prefix":"d.","limit":2`:                    "d.1 d.2",
		`"prefix":"d.","limit":1,"reverse":true`:     "d.2; d.1",
		`"prefix":"d.","start":"d.2","limit":1`:      "d.2",
		`"prefix":"d.","start":"d.2","reverse":true`: "d.2 d.1",
		`"conflictsOnly":true,"limit":1`:             "d.2",
	} {
		body := `[{"partitionKey":"root"`
		if in != "" {
			body += "," + in
		}
		r := e.want(e.do("POST /my_bucket?search", body+"}]"), 200, "*")
		var out []struct {
			Items     []struct{ Sk string }
			More      bool
			NextStart *string
		}
		if err := json.Unmarshal([]byte(r.body), &out); err != nil || len(out) != 1 {
			t.Fatalf("%s: %v", r.body, err)
		}
		var got []string
		for _, i := range out[0].Items {
			got = append(got, i.Sk)
		}
		text := strings.Join(got, " ")
		if out[0].NextStart != nil {
			text += "; " + *out[0].NextStart
		}
		if text != want || out[0].More != (out[0].NextStart != nil) {
			t.Errorf("%s: got %q (more: %v), want %q", in, text, out[0].More, want)
		}
	}
}

func itoa(i int) string {
	b, _ := json.Marshal(i)
	return string(b)
}

func TestWhatIsRefused(t *testing.T) {
	e := start(t, httpd.Config{})
	e.want(e.do("PUT /my_bucket/root?sort_key=test1", "Hello, world!"), 204, "")
	long := strings.Repeat("k", 1025)
	for name, c := range map[string]struct {
		head, body string
		header     string
		status     int
		code       string
	}{
		"trash token":        {"PUT /my_bucket/root?sort_key=test1", "x", "X-Garage-Causality-Token: tra$sh", 400, "CausalityToken"},
		"no sort key":        {"PUT /my_bucket/root", "x", "", 400, "InvalidRequest"},
		"empty sort key":     {"PUT /my_bucket/root?sort_key=", "x", "", 400, "InvalidRequest"},
		"long sort key":      {"PUT /my_bucket/root?sort_key=" + long, "x", "", 400, "InvalidRequest"},
		"long partition key": {"PUT /my_bucket/" + long + "?sort_key=x", "x", "", 400, "InvalidRequest"},
		"no UTF-8":           {"GET /my_bucket/%FF?sort_key=x", "", "", 400, "InvalidUtf8String"},
		"large value":        {"PUT /my_bucket/root?sort_key=x", strings.Repeat("x", 1<<20+1), "", 413, "EntityTooLarge"},
		"no partition key":   {"POST /my_bucket?search", `[{}]`, "", 400, "InvalidRequest"},
		"trailing comma":     {"POST /my_bucket?search", `[{"partitionKey":"a"},]`, "", 400, "InvalidRequest"},
		"unknown field":      {"POST /my_bucket?search", `[{"partition_key":"root","prefix":"a","start":"bx"}]`, "", 400, "InvalidRequest"},
		"start and prefix":   {"POST /my_bucket?search", `[{"partitionKey":"root","prefix":"a","start":"bx"}]`, "", 400, "InvalidRequest"},
		"cut short":          {"POST /my_bucket?search", `[{"partitionKey":"root"`, "", 400, "InvalidRequest"},
		"no list":            {"POST /my_bucket?search", `{"partitionKey":"root"}`, "", 400, "InvalidRequest"},
		"single with prefix": {"POST /my_bucket?search", `[{"partitionKey":"root","prefix":"a","start":"ab","singleItem":true}]`, "", 400, "InvalidRequest"},
		"limit of a delete":  {"POST /my_bucket?delete", `[{"partitionKey":"root","limit":1}]`, "", 400, "InvalidRequest"},
		"conflicts only":     {"POST /my_bucket?delete", `[{"partitionKey":"root","conflictsOnly":true}]`, "", 400, "InvalidRequest"},
		"a later deletion":   {"POST /my_bucket?delete", `[{"partitionKey":"root"},{"partitionKey":"root","singleItem":true}]`, "", 400, "InvalidRequest"},
		"wrong type":         {"POST /my_bucket?search", `[{"partitionKey":7}]`, "", 400, "InvalidRequest"},
		"negative limit":     {"POST /my_bucket?search", `[{"partitionKey":"a","limit":-1}]`, "", 400, "InvalidRequest"},
		"deep":               {"POST /my_bucket", strings.Repeat("[", 100_000), "", 400, "InvalidRequest"},
		"deep in a field":    {"POST /my_bucket", `[{"pk":` + strings.Repeat("[", 100_000), "", 400, "InvalidRequest"},
		"batch token":        {"POST /my_bucket", `[{"pk":"root","sk":"a","ct":"tra$h","v":"aGVsbG8sIHdvcmxkCg=="}]`, "", 400, "CausalityToken"},
		"batch value":        {"POST /my_bucket", `[{"pk":"root","sk":"a","ct":null,"v":"aGVsbG8sIHdvcmx$Cg=="}]`, "", 400, "InvalidBase64"},
		"batch line break":   {"POST /my_bucket", `[{"pk":"root","sk":"a","ct":null,"v":"aGVs\nbG8="}]`, "", 400, "InvalidBase64"},
		"batch without v":    {"POST /my_bucket", `[{"pk":"root","sk":"a","ct":null}]`, "", 400, "InvalidRequest"},
		"batch not UTF-8":    {"POST /my_bucket", "[{\"pk\":\"root\",\"sk\":\"\xff\",\"ct\":null,\"v\":null}]", "", 400, "InvalidUtf8String"},
		"something follows":  {"POST /my_bucket", `[] []`, "", 400, "InvalidRequest"},
		"poll token":         {"GET /my_bucket/root?sort_key=test1&causality_token=tra%24h&timeout=10", "", acceptBinary, 400, "CausalityToken"},
		"poll timeout":       {"GET /my_bucket/root?sort_key=test1&causality_token=AAAAAAAAAAA&timeout=-1", "", "", 400, "InvalidRequest"},
		"poll marker":        {"POST /my_bucket/root?poll_range", `{"seenMarker":"trash"}`, "", 400, "InvalidRequest"},
		"non-monotonic":      {"GET /my_bucket/root?sort_key=test1", "", "X-Garage-Non-Monotonic-Read: maybe", 400, "InvalidNonMonotonicRead"},
		"other parameter":    {"GET /my_bucket/root?sort_key=test1&sortkey=2", "", "", 400, "InvalidRequest"},
		"twice":              {"GET /my_bucket/root?sort_key=test1&sort_key=2", "", "", 400, "InvalidRequest"},
		"no bucket":          {"GET /", "", "", 400, "InvalidRequest"},
		"other bucket":       {"GET /other/root?sort_key=1", "", "", 404, "NoSuchBucket"},
		"method":             {"PATCH /my_bucket/root?sort_key=1", "", "", 405, "MethodNotAllowed"},
		"unknown method":     {"FROB /my_bucket/root?sort_key=1", "", "", 405, "MethodNotAllowed"},
	} {
		headers := []string{}
		if c.header != "" {
			headers = append(headers, c.header)
		}
		if r := e.do(c.head, c.body, headers...); r.status != c.status || r.code(t) != c.code {
			t.Errorf("%s: %d %s, want %d %s", name, r.status, r.body, c.status, c.code)
		}
	}
	if r := e.do("GET /my_bucket/root?sort_key=test1", "", "X-Garage-Non-Monotonic-Read: true"); r.status != 200 {
		t.Errorf("%d %s", r.status, r.body)
	}
	// Values that nobody supersedes come to an end.
	for i := range 64 {
		e.want(e.do("PUT /my_bucket/root?sort_key=full", itoa(i)), 204, "")
	}
	if r := e.do("PUT /my_bucket/root?sort_key=full", "more"); r.status != 400 || r.code(t) != "TooManyValues" {
		t.Errorf("%d %s", r.status, r.body)
	}
	e.want(e.do("PUT /my_bucket/root?sort_key=full", "more", "X-Garage-Causality-Token: "+e.do("GET /my_bucket/root?sort_key=full", "").token()), 204, "")
}

func TestWhoMay(t *testing.T) {
	e := start(t, httpd.Config{})
	const item = " /my_bucket/root?sort_key=a"
	e.want(e.do("PUT"+item, "x"), 204, "")
	for name, c := range map[string]struct {
		r      *http.Request
		status int
		code   string
	}{
		"reader writes":     {e.request(reader, "k2v", "PUT"+item, "y"), 403, "AccessDenied"},
		"reader deletes":    {e.request(reader, "k2v", "POST /my_bucket?delete", `[{"partitionKey":"root"}]`), 403, "AccessDenied"},
		"writer reads":      {e.request(writer, "k2v", "GET"+item, ""), 403, "AccessDenied"},
		"signed for S3":     {e.request(owner, "s3", "PUT"+item, "y"), 400, "AuthorizationHeaderMalformed"},
		"unsigned":          {unsigned(e, "GET"+item), 403, "AccessDenied"},
		"another body":      {swapped(e, "PUT"+item, "yy", "zz"), 400, "InvalidDigest"},
		"batch, other body": {swapped(e, "POST /my_bucket", `[{"pk":"root","sk":"a","v":null}]`, `[{"pk":"root","sk":"b","v":null}]`), 400, "InvalidDigest"},
	} {
		got, err := e.send(c.r)
		if err != nil || got.status != c.status || got.code(t) != c.code {
			t.Errorf("%s: %d %s, %v", name, got.status, got.body, err)
		}
	}
	for _, r := range []*http.Request{e.request(reader, "k2v", "GET"+item, ""), e.request(writer, "k2v", "PUT"+item, "y"),
		e.request(reader, "k2v", "POST /my_bucket/root?poll_range", "{}")} {
		if got, err := e.send(r); err != nil || got.status >= 400 {
			t.Errorf("%s %s: %d %s, %v", r.Method, r.URL, got.status, got.body, err)
		}
	}
	e.want(e.do("GET /my_bucket/root?sort_key=b", ""), 404, "*") // nothing of the refused batch
}

func unsigned(e *edge, head string) *http.Request {
	r := e.request(owner, "k2v", head, "")
	r.Header.Del("Authorization")
	r.Header.Del("X-Amz-Content-Sha256")
	return r
}

// swapped is a request with another body than was signed.
func swapped(e *edge, head, signed, sent string) *http.Request {
	r := e.request(owner, "k2v", head, signed)
	other := e.request(owner, "k2v", head, sent)
	r.Body, r.GetBody = other.Body, other.GetBody
	return r
}
