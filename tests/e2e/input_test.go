package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"hangar/tests/harness"
)

// request sends one signed request with an optional body.
func request(t testing.TB, s *harness.Server, method, target, body string, headers ...[2]string) *wireAnswer {
	t.Helper()
	w := &wireRequest{method: method, target: target, headers: headers}
	if body != "" {
		w.body = []byte(body)
	}
	return w.send(t, s.S3)
}

func TestHeadersOutOfBounds(t *testing.T) {
	s := sharedServer(t)
	key := uniqueKey(t)
	long := func(n int) [2]string { return [2]string{"x-amz-meta-long", strings.Repeat("x", n)} }
	request(t, s, "PUT", objectPath(key), "b", long(3000)).want(t, "3,000 bytes of metadata", 400, "MetadataTooLarge")
	request(t, s, "PUT", objectPath(key), "b", long(20<<10)).want(t, "20 KiB of headers", 431, "RequestHeaderSectionTooLarge")
	request(t, s, "PUT", objectPath(key), "b", long(4<<20)).want(t, "4 MiB of headers", 431, "RequestHeaderSectionTooLarge")
	many := make([][2]string, 3000)
	for i := range many {
		many[i] = [2]string{fmt.Sprint("x-h-", i), "v"}
	}
	request(t, s, "PUT", objectPath(key), "b", many...).want(t, "3,000 headers", 431, "RequestHeaderSectionTooLarge")
	request(t, s, "GET", objectPath(key)+"?prefix="+strings.Repeat("a", 100<<10), "").want(t, "100 KiB of query", 431, "RequestHeaderSectionTooLarge")
	request(t, s, "HEAD", objectPath(key), "").want(t, "afterwards", 404, "")
}

func TestHostileXML(t *testing.T) {
	s := sharedServer(t)
	ctx := testContext(t, time.Minute)
	c := harness.SDK(s.S3)
	key := uniqueKey(t)
	if err := put(ctx, c, key, []byte("kept")); err != nil {
		t.Fatal(err)
	}
	created, err := c.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: aws.String(harness.Bucket), Key: aws.String(key)})
	if err != nil {
		t.Fatal(err)
	}
	laughs := `<!DOCTYPE d [<!ENTITY a "` + strings.Repeat("ha", 500) + `"><!ENTITY b "` + strings.Repeat("&a;", 500) + `"><!ENTITY c "` + strings.Repeat("&b;", 500) + `">]>`
	deletes := "/" + harness.Bucket + "?delete"
	completes := objectPath(key) + "?uploadId=" + *created.UploadId
	deep := strings.Repeat("<a>", 100000) + strings.Repeat("</a>", 100000)
	for _, c := range []struct {
		name, target, body, code string
		status                   int
	}{
		{"empty", deletes, "", "MalformedXML", 400},
		{"no xml", deletes, "{}", "MalformedXML", 400},
		{"cut", deletes, "<Delete><Object><Key>" + key, "MalformedXML", 400},
		{"other root", deletes, "<Remove><Object><Key>" + key + "</Key></Object></Remove>", "MalformedXML", 400},
		{"two roots", deletes, "<Delete><Object><Key>x</Key></Object></Delete><Delete/>", "MalformedXML", 400},
		{"no objects", deletes, "<Delete></Delete>", "MalformedXML", 400},
		{"1,001 objects", deletes, "<Delete>" + strings.Repeat("<Object><Key>"+key+"</Key></Object>", 1001) + "</Delete>", "MalformedXML", 400},
		{"entity bomb", deletes, laughs + "<Delete><Object><Key>&c;</Key></Object></Delete>", "MalformedXML", 400},
		{"external entity", deletes, `<!DOCTYPE d [<!ENTITY a SYSTEM "file:///etc/passwd">]><Delete><Object><Key>&a;</Key></Object></Delete>`, "MalformedXML", 400},
		{"deep", deletes, "<Delete>" + deep + "</Delete>", "MalformedXML", 400},
		{"huge", deletes, "<Delete>" + strings.Repeat(" ", 8<<20) + "</Delete>", "", 400},
		{"invalid utf-8", deletes, "<Delete><Object><Key>\xff\xfe</Key></Object></Delete>", "MalformedXML", 400},
		{"empty", completes, "", "MalformedXML", 400},
		{"no parts", completes, "<CompleteMultipartUpload/>", "MalformedXML", 400},
		{"no number", completes, "<CompleteMultipartUpload><Part><ETag>x</ETag></Part></CompleteMultipartUpload>", "", 400},
		{"bad number", completes, "<CompleteMultipartUpload><Part><PartNumber>abc</PartNumber><ETag>x</ETag></Part></CompleteMultipartUpload>", "MalformedXML", 400},
		{"huge number", completes, "<CompleteMultipartUpload><Part><PartNumber>99999999999999999999</PartNumber><ETag>x</ETag></Part></CompleteMultipartUpload>", "MalformedXML", 400},
		{"entity bomb", completes, laughs + "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>&c;</ETag></Part></CompleteMultipartUpload>", "MalformedXML", 400},
		{"10,001 parts", completes, "<CompleteMultipartUpload>" + strings.Repeat("<Part><PartNumber>1</PartNumber><ETag>x</ETag></Part>", 10001) + "</CompleteMultipartUpload>", "MalformedXML", 400},
		{"huge", completes, "<CompleteMultipartUpload>" + strings.Repeat("<Part><PartNumber>1</PartNumber><ETag>x</ETag></Part>", 200000) + "</CompleteMultipartUpload>", "", 400},
		{"unknown part", completes, "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>x</ETag></Part></CompleteMultipartUpload>", "InvalidPart", 400},
	} {
		a := request(t, s, "POST", c.target, c.body, [2]string{"content-md5", md5Text([]byte(c.body))})
		if a.StatusCode != c.status || a.code == "" || c.code != "" && a.code != c.code {
			t.Errorf("%s: %s: %.300s, want %d %s", c.target[len(harness.Bucket):], c.name, a, c.status, c.code)
		}
	}
	request(t, s, "PUT", "/new-bucket-"+strings.ToLower(key[len(key)-2:]), "<CreateBucketConfiguration><LocationConstraint>mars</LocationConstraint></CreateBucketConfiguration>").
		want(t, "create elsewhere", 400, "InvalidLocationConstraint")
	if b, err := get(ctx, c, key); err != nil || string(b) != "kept" {
		t.Errorf("the object is gone: %q, %v", b, err)
	}
}

func TestBucketNames(t *testing.T) {
	s := sharedServer(t)
	for _, name := range []string{"ab", "A-Upper", "under_score", "dot..dot", "-dash", "dash-", "192.168.1.1", "a.-b", strings.Repeat("x", 64),
		"sp%20ace", "%C3%A4%C3%B6%C3%BC", "..", "xn--puny", "a%00b", "a%2Fb"} {
		request(t, s, "PUT", "/"+name, "").want(t, name, 400, "InvalidBucketName")
	}
	for _, name := range []string{"ab", "A-Upper", "..", "absent-bucket-1"} {
		a := request(t, s, "GET", "/"+name+"/key", "")
		if a.StatusCode != http.StatusNotFound && a.StatusCode != http.StatusBadRequest || a.code != "NoSuchBucket" && a.code != "InvalidBucketName" {
			t.Errorf("GET /%s/key: %v", name, a)
		}
	}
}

func TestMultipartMisuse(t *testing.T) {
	s := sharedServer(t)
	ctx := testContext(t, time.Minute)
	c := harness.SDK(s.S3)
	key := uniqueKey(t)
	old := content(9, 50000)
	if err := put(ctx, c, key, old); err != nil {
		t.Fatal(err)
	}
	start := func() string {
		out, err := c.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: aws.String(harness.Bucket), Key: aws.String(key)})
		if err != nil {
			t.Fatal(err)
		}
		return *out.UploadId
	}
	id := start()
	for _, number := range []string{"0", "10001", "abc", "-1", "1.5", "99999999999999999999", "", "+1", "01x"} {
		request(t, s, "PUT", objectPath(key)+"?partNumber="+number+"&uploadId="+id, "x").want(t, "part "+number, 400, "InvalidArgument")
	}
	part := func(id string, number int, body []byte) string {
		w := &wireRequest{method: "PUT", target: fmt.Sprintf("%s?partNumber=%d&uploadId=%s", objectPath(key), number, id), body: body}
		a := w.send(t, s.S3)
		if a.StatusCode != http.StatusOK {
			t.Fatalf("part %d: %v", number, a)
		}
		return a.Header.Get("ETag")
	}
	big, small := content(1, 5<<20), content(2, 100)
	one, two, three := part(id, 1, big), part(id, 2, small), part(id, 3, small)
	complete := func(id string, parts ...string) *wireAnswer {
		var b strings.Builder
		for i := 0; i < len(parts); i += 2 {
			fmt.Fprintf(&b, "<Part><PartNumber>%s</PartNumber><ETag>%s</ETag></Part>", parts[i], parts[i+1])
		}
		return request(t, s, "POST", objectPath(key)+"?uploadId="+id, "<CompleteMultipartUpload>"+b.String()+"</CompleteMultipartUpload>")
	}
	complete(id, "1", one, "2", two, "3", three).want(t, "a part below 5 MiB", 400, "EntityTooSmall")
	complete(id, "2", two, "1", one).want(t, "wrong order", 400, "InvalidPartOrder")
	complete(id, "1", one, "1", one).want(t, "twice the same", 400, "InvalidPartOrder")
	complete(id, "1", one, "2", one).want(t, "wrong etag", 400, "InvalidPart")
	complete(id, "1", one, "4", one).want(t, "no such part", 400, "InvalidPart")
	complete(id, "0", one).want(t, "part 0", 400, "InvalidArgument")
	complete(id, "10001", one).want(t, "part 10001", 400, "InvalidArgument")
	if b, err := get(ctx, c, key); err != nil || !bytes.Equal(b, old) {
		t.Fatalf("failed completions changed the object: %d bytes, %v", len(b), err)
	}
	aborted := start()
	part(aborted, 1, small)
	request(t, s, "DELETE", objectPath(key)+"?uploadId="+aborted, "").want(t, "abort", 204, "")
	for _, bad := range []string{aborted, "unknown", "00000000000000000000000000000000", strings.Repeat("f", len(id)), id + "0", "%00", "../" + id} {
		for _, call := range []string{"PUT partNumber=1&", "POST ", "GET ", "DELETE "} {
			method, query, _ := strings.Cut(call, " ")
			body := ""
			switch method {
			case "PUT":
				body = "x"
			case "POST":
				body = "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>" + one + "</ETag></Part></CompleteMultipartUpload>"
			}
			request(t, s, method, objectPath(key)+"?"+query+"uploadId="+bad, body).want(t, method+" "+bad, 404, "NoSuchUpload")
		}
		request(t, s, "PUT", objectPath(key)+"?partNumber=1&uploadId="+bad, "", [2]string{"x-amz-copy-source", objectPath(key)}).
			want(t, "copy to "+bad, 404, "NoSuchUpload")
		request(t, s, "GET", objectPath(key+"-other")+"?uploadId="+id, "").want(t, "upload of another key", 404, "NoSuchUpload")
	}
	complete(id, "1", one, "3", three).want(t, "a right completion", 200, "")
	if b, err := get(ctx, c, key); err != nil || !bytes.Equal(b, append(big, small...)) {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}

func TestRangesOutOfBounds(t *testing.T) {
	s := sharedServer(t)
	for _, size := range []int{0, 10, 3 << 20} {
		key, body := fmt.Sprint(uniqueKey(t), size), content(3, size)
		if err := put(testContext(t, time.Minute), harness.SDK(s.S3), key, body); err != nil {
			t.Fatal(err)
		}
		for _, spec := range []string{fmt.Sprintf("bytes=%d-", size), fmt.Sprintf("bytes=%d-%d", size+1, size+5), "bytes=-0", "bytes=9223372036854775807-"} {
			a := request(t, s, "GET", objectPath(key), "", [2]string{"range", spec})
			a.want(t, spec, 416, "InvalidRange")
			if got := a.Header.Get("Content-Range"); got != fmt.Sprintf("bytes */%d", size) {
				t.Errorf("%s: Content-Range %q", spec, got)
			}
		}
		// What is no range is ignored, as HTTP has it.
		for _, spec := range []string{"bytes=5-2", "bytes=a-b", "bytes=", "bytes=1-2,4-5", "lines=1-2", "bytes=99999999999999999999-"} {
			if a := request(t, s, "GET", objectPath(key), "", [2]string{"range", spec}); a.StatusCode != http.StatusRequestedRangeNotSatisfiable && (a.StatusCode != http.StatusOK || a.text != string(body)) {
				t.Errorf("%s of %d: %d, %d bytes", spec, size, a.StatusCode, len(a.text))
			}
		}
		if size == 0 {
			continue
		}
		for spec, want := range map[string][]byte{"bytes=0-0": body[:1], "bytes=-1": body[size-1:], fmt.Sprintf("bytes=0-%d", size*2): body,
			fmt.Sprintf("bytes=-%d", size*2): body, fmt.Sprintf("bytes=%d-9223372036854775807", size-3): body[size-3:]} {
			if a := request(t, s, "GET", objectPath(key), "", [2]string{"range", spec}); a.StatusCode != http.StatusPartialContent || a.text != string(want) {
				t.Errorf("%s of %d: %d, %d bytes", spec, size, a.StatusCode, len(a.text))
			}
		}
	}
}

func TestKeysAtTheEdge(t *testing.T) {
	s := sharedServer(t)
	ctx := testContext(t, time.Minute)
	c := harness.SDK(s.S3)
	prefix := uniqueKey(t) + "/"
	pad := strings.Repeat("k", 1024-len(prefix))
	keys := []string{pad, "a//b", "//", "../../etc/passwd", "./.", "a/../b", "x%2Fy", "x+y", "x y", "tab\tnew\nline\x01\x7f", "trailing/", "ünïcödé-日本語-🎉",
		"a?b#c&d=e", "<&>\"'", "%00", "\u0000nul", "con\\back", strings.Repeat("/", 50), "\uFFFE", "a%", "%zz"}
	seen := map[string]bool{}
	for i, k := range keys {
		a := request(t, s, "PUT", objectPath(prefix+k), fmt.Sprint("content ", i))
		a.want(t, fmt.Sprintf("PUT %q", k), 200, "")
		seen[prefix+k] = true
	}
	for i, k := range keys {
		if a := request(t, s, "GET", objectPath(prefix+k), ""); a.text != fmt.Sprint("content ", i) {
			t.Errorf("GET %q: %v", k, a)
		}
	}
	out, err := c.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: aws.String(harness.Bucket), Prefix: aws.String(prefix), EncodingType: "url"})
	if err != nil || len(out.Contents) != len(keys) {
		t.Fatalf("listed %d of %d keys, %v", len(out.Contents), len(keys), err)
	}
	for _, o := range out.Contents {
		// The SDK leaves what it asked to be encoded encoded.
		if key, err := url.QueryUnescape(*o.Key); err != nil || !seen[key] {
			t.Errorf("listed %q, %v", *o.Key, err)
		}
	}
	request(t, s, "PUT", objectPath(prefix+pad+"k"), "x").want(t, "1,025 bytes", 400, "KeyTooLongError")
	request(t, s, "PUT", objectPath(strings.Repeat("ä", 513)), "x").want(t, "1,026 bytes in 513 letters", 400, "KeyTooLongError")
	for _, raw := range []string{"%FF", "%C3", "%ED%A0%80", "%zz", "%4", "a%"} {
		request(t, s, "PUT", "/"+harness.Bucket+"/"+raw, "x").want(t, raw, 400, "InvalidURI")
	}
}

func TestUnbuiltIsNotImplemented(t *testing.T) {
	s := sharedServer(t)
	key := uniqueKey(t)
	if err := put(testContext(t, time.Minute), harness.SDK(s.S3), key, []byte("kept")); err != nil {
		t.Fatal(err)
	}
	for _, sub := range []string{"tagging", "acl", "retention", "legal-hold", "versionId=3HL4kqtJlcpXroDTDmJ", "append", "encryption", "annotation"} {
		request(t, s, "PUT", objectPath(key)+"?"+sub, "<X/>").want(t, "PUT ?"+sub, 501, "NotImplemented")
	}
	for _, sub := range []string{"restore", "select&select-type=2", "torrent"} {
		request(t, s, "POST", objectPath(key)+"?"+sub, "<X/>").want(t, "POST ?"+sub, 501, "NotImplemented")
	}
	for _, sub := range []string{"tagging", "versionId=3HL4kqtJlcpXroDTDmJ"} {
		request(t, s, "DELETE", objectPath(key)+"?"+sub, "").want(t, "DELETE ?"+sub, 501, "NotImplemented")
	}
	for _, sub := range []string{"policy", "versioning", "lifecycle", "object-lock", "acl", "cors", "tagging", "encryption", "website", "notification",
		"replication", "logging", "requestPayment", "accelerate", "publicAccessBlock", "ownershipControls", "inventory&id=1", "metrics&id=1", "analytics&id=1", "intelligent-tiering&id=1", "unheard-of"} {
		request(t, s, "PUT", "/"+harness.Bucket+"?"+sub, "<X/>").want(t, "PUT bucket ?"+sub, 501, "NotImplemented")
		request(t, s, "DELETE", "/"+harness.Bucket+"?"+sub, "").want(t, "DELETE bucket ?"+sub, 501, "NotImplemented")
	}
	request(t, s, "GET", "/"+harness.Bucket+"?versions", "").want(t, "ListObjectVersions", 501, "NotImplemented")
	request(t, s, "GET", objectPath(key)+"?versionId=3HL4kqtJlcpXroDTDmJ", "").want(t, "GET ?versionId", 404, "NoSuchVersion")
	for _, h := range [][2]string{{"x-amz-server-side-encryption", "AES256"}, {"x-amz-server-side-encryption", "aws:kms"},
		{"x-amz-server-side-encryption-customer-algorithm", "AES256"}, {"x-amz-server-side-encryption-customer-key", "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="},
		{"x-amz-object-lock-mode", "COMPLIANCE"}, {"x-amz-object-lock-legal-hold", "ON"}, {"x-amz-tagging", "a=b"}, {"x-amz-acl", "public-read"},
		{"x-amz-grant-full-control", "id=1"}, {"x-amz-write-offset-bytes", "0"}} {
		request(t, s, "PUT", objectPath(key), "changed", h).want(t, h[0], 501, "NotImplemented")
	}
	if b, err := get(testContext(t, time.Minute), harness.SDK(s.S3), key); err != nil || string(b) != "kept" {
		t.Errorf("the object is %q, %v", b, err)
	}
}

// TestSmugglingOnTheWire: two readings of where a request ends must not make
// two requests of one.
func TestSmugglingOnTheWire(t *testing.T) {
	s := sharedServer(t)
	victim := uniqueKey(t)
	if err := put(testContext(t, time.Minute), harness.SDK(s.S3), victim, []byte("v")); err != nil {
		t.Fatal(err)
	}
	host := strings.TrimPrefix(s.S3, "http://")
	inner, _ := (&wireRequest{method: "DELETE", target: objectPath(victim)}).head(host)
	for name, framing := range map[string]string{
		"two lengths":          fmt.Sprintf("content-length: 0\r\ncontent-length: %d\r\n", len(inner)),
		"length and chunks":    fmt.Sprintf("content-length: %d\r\ntransfer-encoding: chunked\r\n", len(inner)+7),
		"chunks and length":    "transfer-encoding: chunked\r\ncontent-length: 4\r\n",
		"chunked, identity":    "transfer-encoding: chunked, identity\r\ncontent-length: 0\r\n",
		"space before colon":   fmt.Sprintf("content-length : %d\r\ncontent-length: 0\r\n", len(inner)),
		"folded":               fmt.Sprintf("x-a: b\r\n content-length: %d\r\n", len(inner)),
		"sign":                 fmt.Sprintf("content-length: +%d\r\n", len(inner)),
		"list of lengths":      fmt.Sprintf("content-length: 0, %d\r\n", len(inner)),
		"refused, body unread": fmt.Sprintf("x-amz-acl: public-read\r\ncontent-length: %d\r\n", len(inner)),
		"nul in a header":      fmt.Sprintf("x-a: \x00\r\ncontent-length: %d\r\n", len(inner)),
		"bare cr":              fmt.Sprintf("x-a: b\rcontent-length: 0\r\ncontent-length: %d\r\n", len(inner)),
	} {
		w := &wireRequest{method: "PUT", target: objectPath(victim + "-outer"), length: -1, payload: unsigned}
		head, _ := w.head(host)
		c := dial(t, s.S3)
		body := inner
		if strings.Contains(framing, "chunked") {
			body = "0\r\n\r\n" + inner
		}
		if _, err := c.Write([]byte(strings.TrimSuffix(head, "\r\n") + framing + "\r\n" + body)); err != nil {
			t.Fatal(err)
		}
		if err := c.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		for r := bufio.NewReader(c); ; {
			a, err := tryAnswer(r, http.MethodPut)
			if err != nil {
				break
			}
			if a.StatusCode == http.StatusNoContent {
				t.Errorf("%s: the inner request ran", name)
			}
		}
		c.Close()
	}
	request(t, s, "HEAD", objectPath(victim), "").want(t, "the victim", 200, "")
}
