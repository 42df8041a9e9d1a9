package s3_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"

	"hangar/services/gateway/internal/httpd"
	"hangar/services/gateway/internal/objects"
	"hangar/shared/control"
	"hangar/shared/fault"
)

func (a *answer) want(t *testing.T, what string, status int, code string) {
	t.Helper()
	if a.StatusCode != status || !strings.Contains(a.body, "<Code>"+code+"</Code>") {
		t.Errorf("%s: got %d %s, want %d %s", what, a.StatusCode, a.body, status, code)
	}
}

func (e *edge) wantAbsent(key string) {
	e.t.Helper()
	if a := e.request(owner, "HEAD", "/photos/"+key, nil); a.StatusCode != http.StatusNotFound {
		e.t.Errorf("HEAD %s: %d, want 404", key, a.StatusCode)
	}
}

func TestUnbuiltIsRefused(t *testing.T) {
	e := start(t, setup{})
	put(t, e.client(owner), "k", "v")
	for _, target := range []string{
		"GET /photos?analytics", "GET /photos?inventory&id=x", "GET /photos?versions", "GET /photos?policyStatus",
		"PUT /photos?versioning", "PUT /photos?policy", "PUT /photos?lifecycle", "PUT /photos?acl", "PUT /photos?cors",
		"DELETE /photos?policy", "DELETE /photos?lifecycle", "POST /photos", "GET /photos?session",
		"GET /photos/k?torrent", "GET /photos/k?retention", "GET /photos/k?legal-hold", "PUT /photos/k?tagging",
		"PUT /photos/k?acl", "PUT /photos/k?retention", "POST /photos/k?restore", "POST /photos/k?select&select-type=2",
		"DELETE /photos/k?tagging", "GET /photos/k?somethingNew", "PUT /photos/k?append", "DELETE /photos/k?versionId=abc",
		"PUT /photos/k?x-amz-acl=private", "PUT /photos/k?partNumber=1",
	} {
		method, path, _ := strings.Cut(target, " ")
		e.request(owner, method, path, nil).want(t, target, 501, "NotImplemented")
	}
	for _, h := range [][2]string{
		{"x-amz-server-side-encryption", "AES256"}, {"x-amz-server-side-encryption-customer-algorithm", "AES256"},
		{"x-amz-object-lock-mode", "GOVERNANCE"}, {"x-amz-object-lock-legal-hold", "ON"}, {"x-amz-tagging", "a=b"},
		{"x-amz-acl", "public-read"}, {"x-amz-grant-read", "id=x"}, {"x-amz-write-offset-bytes", "3"},
		{"x-amz-something-new", "1"}, {"If-None-Match", `"abc"`}, {"If-Modified-Since", "Wed, 01 Jan 2020 00:00:00 GMT"},
		{"Content-Range", "bytes 0-1/2"}, {"x-amz-storage-class", "GLACIER"}, {"x-amz-expected-bucket-owner", "123456789012"},
	} {
		e.request(owner, "PUT", "/photos/refused", []byte("x"), h[0], h[1]).want(t, h[0], 501, "NotImplemented")
	}
	e.wantAbsent("refused")
	for _, h := range [][2]string{{"x-amz-acl", "private"}, {"x-amz-acl", "bucket-owner-full-control"}, {"x-amz-tagging", ""}, {"x-amz-request-payer", "requester"}} {
		if a := e.request(owner, "PUT", "/photos/fine", []byte("x"), h[0], h[1]); a.StatusCode != http.StatusOK {
			t.Errorf("%s: %d %s", h, a.StatusCode, a.body)
		}
	}
	e.request(owner, "GET", "/photos/k?versionId=abc", nil).want(t, "other version", 404, "NoSuchVersion")
	e.request(owner, "GET", "/photos/k?versionId=", nil).want(t, "empty version", 400, "InvalidArgument")
	if a := e.request(owner, "GET", "/photos/k?versionId=null", nil); a.body != "v" {
		t.Errorf("null version: %d %s", a.StatusCode, a.body)
	}
	e.request(owner, "PATCH", "/photos/k", nil).want(t, "PATCH", 405, "MethodNotAllowed")
	e.request(owner, "BREW", "/photos/k", nil).want(t, "BREW", 405, "MethodNotAllowed")
}

func TestConfigurationsAnswerThatNothingIsConfigured(t *testing.T) {
	e := start(t, setup{})
	put(t, e.client(owner), "k", "v")
	for target, code := range map[string]string{
		"/photos?policy": "NoSuchBucketPolicy", "/photos?cors": "NoSuchCORSConfiguration", "/photos?lifecycle": "NoSuchLifecycleConfiguration",
		"/photos?tagging": "NoSuchTagSet", "/photos?encryption": "ServerSideEncryptionConfigurationNotFoundError",
		"/photos?object-lock": "ObjectLockConfigurationNotFoundError", "/photos?website": "NoSuchWebsiteConfiguration",
		"/photos/none?acl": "NoSuchKey", "/photos/none?tagging": "NoSuchKey",
	} {
		e.request(owner, "GET", target, nil).want(t, target, 404, code)
	}
	for target, part := range map[string]string{
		"/photos?versioning": "<VersioningConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"></VersioningConfiguration>",
		"/photos?acl":        "<Permission>FULL_CONTROL</Permission>", "/photos/k?acl": "<Permission>FULL_CONTROL</Permission>",
		"/photos?requestPayment": "<Payer>BucketOwner</Payer>", "/photos/k?tagging": "<TagSet></TagSet>", "/photos?logging": "<BucketLoggingStatus",
	} {
		if a := e.request(owner, "GET", target, nil); a.StatusCode != http.StatusOK || !strings.Contains(a.body, part) {
			t.Errorf("%s: %d %s", target, a.StatusCode, a.body)
		}
	}
}

func TestAccess(t *testing.T) {
	e := start(t, setup{})
	put(t, e.client(owner), "k", "v")
	stranger := control.Key{ID: "GKSTRANGER01", Secret: "x"}
	forged := control.Key{ID: owner.ID, Secret: "wrong"}
	for _, c := range []struct {
		key    control.Key
		target string
		status int
		code   string
	}{
		{stranger, "GET /photos/k", 403, "InvalidAccessKeyId"},
		{forged, "GET /photos/k", 403, "SignatureDoesNotMatch"},
		{nobody, "GET /photos/k", 403, "AccessDenied"}, {nobody, "GET /photos", 403, "AccessDenied"},
		{nobody, "GET /none/k", 404, "NoSuchBucket"}, {nobody, "PUT /photos/k", 403, "AccessDenied"},
		{reader, "PUT /photos/k", 403, "AccessDenied"}, {reader, "DELETE /photos/k", 403, "AccessDenied"},
		{reader, "DELETE /photos", 403, "AccessDenied"}, {reader, "POST /photos?delete", 403, "AccessDenied"},
		{reader, "POST /photos/k?uploads", 403, "AccessDenied"},
		{owner, "GET /photos/%zz", 400, "InvalidURI"}, {owner, "GET /photos/%e", 400, "InvalidURI"}, {owner, "GET /photos/%ff", 400, "InvalidURI"},
		{owner, "GET //k", 400, "InvalidBucketName"}, {owner, "GET /photos?uploads&location", 400, "InvalidRequest"}, {owner, "GET /photos?prefix=a&prefix=b", 400, "InvalidArgument"},
		{owner, "GET /photos?max-keys=-1", 400, "InvalidArgument"}, {owner, "GET /photos?encoding-type=x", 400, "InvalidArgument"},
		{owner, "GET /photos/k?partNumber=0", 400, "InvalidArgument"}, {owner, "PUT /photos/k?partNumber=1&uploadId=zz", 404, "NoSuchUpload"},
		{owner, "GET /photos/k?response-content-type=a%0d%0aX:b", 400, "InvalidArgument"},
	} {
		method, path, _ := strings.Cut(c.target, " ")
		e.request(c.key, method, path, nil).want(t, c.key.ID+" "+c.target, c.status, c.code)
	}
	if a := e.request(reader, "GET", "/photos/k", nil); a.body != "v" {
		t.Errorf("reader: %d %s", a.StatusCode, a.body)
	}
	anonymous := must[*http.Request](t)(http.NewRequest(http.MethodGet, "http://"+e.addr+"/photos/k", nil))
	e.send(anonymous).want(t, "anonymous", 403, "AccessDenied")

	past := time.Now().Add(-time.Hour)
	e.dir.keys[reader.ID] = &control.Key{ID: reader.ID, Secret: reader.Secret, Expiration: &past}
	e.request(reader, "GET", "/photos/k", nil).want(t, "expired", 403, "InvalidAccessKeyId")
	e.dir.buckets[bucket].State = control.BucketDeleting
	e.request(owner, "PUT", "/photos/late", []byte("x")).want(t, "deleting", 409, "OperationAborted")
	if a := e.request(owner, "GET", "/photos/k", nil); a.StatusCode != http.StatusOK {
		t.Errorf("read while deleting: %d", a.StatusCode)
	}
}

func TestPresigned(t *testing.T) {
	e := start(t, setup{})
	sign := sdk.NewPresignClient(e.client(owner))
	up := must[*v4.PresignedHTTPRequest](t)(sign.PresignPutObject(ctx, &sdk.PutObjectInput{Bucket: aws.String(bucket), Key: aws.String("a b"), Metadata: map[string]string{"m": "1"}}))
	r := must[*http.Request](t)(http.NewRequest(up.Method, up.URL, strings.NewReader("by link")))
	for name, v := range up.SignedHeader {
		r.Header[name] = v
	}
	if a := e.send(r); a.StatusCode != http.StatusOK {
		t.Fatalf("put: %d %s", a.StatusCode, a.body)
	}
	down := must[*v4.PresignedHTTPRequest](t)(sign.PresignGetObject(ctx, &sdk.GetObjectInput{Bucket: aws.String(bucket), Key: aws.String("a b"),
		ResponseContentType: aws.String("text/y"), ResponseContentDisposition: aws.String("inline")}))
	a := e.send(must[*http.Request](t)(http.NewRequest(http.MethodGet, down.URL, nil)))
	if a.body != "by link" || a.Header.Get("Content-Type") != "text/y" || a.Header.Get("Content-Disposition") != "inline" || a.Header.Get("X-Amz-Meta-M") != "1" {
		t.Errorf("get: %d %v %s", a.StatusCode, a.Header, a.body)
	}
	e.send(must[*http.Request](t)(http.NewRequest(http.MethodGet, down.URL+"0", nil))).want(t, "changed", 403, "SignatureDoesNotMatch")
	hidden := must[*v4.PresignedHTTPRequest](t)(sign.PresignPutObject(ctx, &sdk.PutObjectInput{Bucket: aws.String(bucket), Key: aws.String("locked"), ObjectLockMode: "COMPLIANCE"}))
	r = must[*http.Request](t)(http.NewRequest(hidden.Method, hidden.URL, strings.NewReader("x")))
	for name, v := range hidden.SignedHeader {
		r.Header[name] = v
	}
	e.send(r).want(t, "hidden lock", 501, "NotImplemented")
	e.wantAbsent("locked")
}

func TestMetadataComesBackAsS3DoesIt(t *testing.T) {
	e := start(t, setup{})
	a := e.request(owner, "PUT", "/photos/m", nil, "X-Amz-Meta-Raw", "grüße", "X-Amz-Meta-Latin", "gr\xfc\xdfe",
		"X-Amz-Meta-Two", "1", "X-Amz-Meta-Two", "2", "X-Amz-Meta-Break", "=?UTF-8?B?YQ0KWC1FdmlsOiAx?=")
	if a.StatusCode != http.StatusOK {
		t.Fatal(a.body)
	}
	a = e.request(owner, "GET", "/photos/m", nil)
	for name, want := range map[string]string{
		"X-Amz-Meta-Raw": "=?UTF-8?b?Z3LDvMOfZQ==?=", "X-Amz-Meta-Latin": "=?UTF-8?b?Z3LDvMOfZQ==?=",
		"X-Amz-Meta-Two": "1,2", "X-Amz-Meta-Break": "=?UTF-8?b?YQ0KWC1FdmlsOiAx?=", "X-Evil": "",
	} {
		if got := a.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	e.request(owner, "PUT", "/photos/big", nil, "X-Amz-Meta-A", strings.Repeat("x", 2100)).want(t, "2 KiB", 400, "MetadataTooLarge")
}

func TestBadDocuments(t *testing.T) {
	e := start(t, setup{})
	bomb := `<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><Delete><Object><Key>&b;</Key></Object></Delete>`
	deep := "<Delete>" + strings.Repeat("<a>", 100_000)
	for name, doc := range map[string]string{
		"empty": "", "no XML": "hello", "cut short": "<Delete><Object><Key>a</Key>", "other root": "<Other/>", "bomb": bomb, "deep": deep,
		"nothing": "<Delete></Delete>", "trailing": "<Delete><Object><Key>a</Key></Object></Delete>x", "second": "<Delete><Object><Key>a</Key></Object></Delete><a/>",
		"too long": "<Delete>" + strings.Repeat(" ", 4<<20) + "</Delete>", "entity": "<Delete><Object><Key>&nope;</Key></Object></Delete>",
		"unmatched": "<Delete><Object></Delete></Object>",
	} {
		a := e.request(owner, "POST", "/photos?delete", []byte(doc))
		if a.StatusCode != http.StatusBadRequest || !strings.Contains(a.body, "<Code>MalformedXML</Code>") && !strings.Contains(a.body, "EntityTooLarge") {
			t.Errorf("%s: %d %s", name, a.StatusCode, a.body)
		}
	}
	up := must[*sdk.CreateMultipartUploadOutput](t)(e.client(owner).CreateMultipartUpload(ctx, &sdk.CreateMultipartUploadInput{Bucket: aws.String(bucket), Key: aws.String("k")}))
	var parts strings.Builder
	for n := 1; n <= 10_001; n++ {
		fmt.Fprintf(&parts, "<Part><PartNumber>%d</PartNumber><ETag>x</ETag></Part>", n)
	}
	target := "/photos/k?uploadId=" + *up.UploadId
	e.request(owner, "POST", target, []byte("<CompleteMultipartUpload>"+parts.String()+"</CompleteMultipartUpload>")).want(t, "10,001 parts", 400, "MalformedXML")
	e.request(owner, "POST", target, []byte("<CompleteMultipartUpload><Part><PartNumber>x</PartNumber></Part></CompleteMultipartUpload>")).want(t, "no number", 400, "MalformedXML")
	e.request(owner, "POST", target, []byte("<CompleteMultipartUpload><Part><PartNumber>0</PartNumber></Part></CompleteMultipartUpload>")).want(t, "part 0", 400, "InvalidArgument")
}

func TestBadBodiesStoreNothing(t *testing.T) {
	e := start(t, setup{})
	for name, c := range map[string]struct {
		header [2]string
		code   string
	}{
		"md5":          {[2]string{"Content-Md5", "1B2M2Y8AsgTpgAmY7PhCfg=="}, "BadDigest"},
		"md5 text":     {[2]string{"Content-Md5", "zz"}, "InvalidDigest"},
		"crc":          {[2]string{"x-amz-checksum-crc32", "AAAAAA=="}, "BadDigest"},
		"crc text":     {[2]string{"x-amz-checksum-crc32", "!"}, "InvalidRequest"},
		"sha256":       {[2]string{"X-Amz-Content-Sha256", strings.Repeat("0", 64)}, "XAmzContentSHA256Mismatch"},
		"storage":      {[2]string{"x-amz-storage-class", "WOODEN"}, "InvalidStorageClass"},
		"redirect":     {[2]string{"x-amz-website-redirect-location", "ftp://x"}, "InvalidArgument"},
		"empty match":  {[2]string{"If-Match", `""`}, "InvalidRequest"},
		"match absent": {[2]string{"If-Match", `"x"`}, "NoSuchKey"},
	} {
		a := e.request(owner, "PUT", "/photos/bad", []byte("body"), c.header[0], c.header[1])
		if !strings.Contains(a.body, "<Code>"+c.code+"</Code>") {
			t.Errorf("%s: %d %s, want %s", name, a.StatusCode, a.body, c.code)
		}
	}
	e.wantAbsent("bad")
}

func TestTruncatedUploads(t *testing.T) {
	e := start(t, setup{})
	for name, sent := range map[string]int{"some": 100_000, "almost all": 1<<20 - 1, "nothing": 0, "one byte": 1, "a little": 4000} {
		r := e.signed(owner, "PUT", "/photos/cut", make([]byte, 1<<20))
		r.Header.Set("Content-Length", fmt.Sprint(1<<20))
		c, in := e.wire(e.rawHead(r) + "\r\n" + strings.Repeat("x", sent))
		if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		b, _ := io.ReadAll(resp.Body)
		if resp.StatusCode != http.StatusBadRequest || !bytes.Contains(b, []byte("IncompleteBody")) {
			t.Errorf("%s: %d %s", name, resp.StatusCode, b)
		}
	}
	r := e.signed(owner, "PUT", "/photos/cut", []byte("x"), "x-amz-decoded-content-length", "11", "X-Amz-Content-Sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER")
	_, in := e.wire(e.rawHead(r) + "Transfer-Encoding: chunked\r\n\r\nb\r\n5\r\nhello\r\n0\r\nZZZ")
	resp, err := http.ReadResponse(in, nil)
	if err == nil && resp.StatusCode == http.StatusOK {
		t.Error("a broken chunk was taken")
	}
	e.wantAbsent("cut")
}

// TestBodyNeedsALength: a PUT that says nothing of a body is not one of zero
// bytes.
func TestBodyNeedsALength(t *testing.T) {
	e := start(t, setup{})
	for _, target := range []string{"/photos/vague", "/photos/vague?partNumber=1&uploadId=x"} {
		_, in := e.wire(e.rawHead(e.signed(owner, "PUT", target, nil)) + "\r\n")
		resp := must[*http.Response](t)(http.ReadResponse(in, nil))
		(&answer{resp, string(must[[]byte](t)(io.ReadAll(resp.Body)))}).want(t, target, 411, "MissingContentLength")
	}
	e.wantAbsent("vague")
}

func TestSlowClientsAreLetGo(t *testing.T) {
	e := start(t, setup{http: httpd.Config{StallTimeout: 200 * time.Millisecond, HeaderTimeout: 300 * time.Millisecond}})
	r := e.signed(owner, "PUT", "/photos/slow", make([]byte, 1<<20))
	r.Header.Set("Content-Length", fmt.Sprint(1<<20))
	_, in := e.wire(e.rawHead(r) + "\r\n" + strings.Repeat("x", 50_000))
	resp := must[*http.Response](t)(http.ReadResponse(in, nil))
	if b, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusBadRequest || !bytes.Contains(b, []byte("RequestTimeout")) {
		t.Errorf("stalled body: %d %s", resp.StatusCode, b)
	}
	if _, err := in.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("the connection stays: %v", err)
	}
	e.wantAbsent("slow")

	for name, raw := range map[string]string{"silent": "", "half a head": "GET / HTTP/1.1\r\nHost: x\r\n"} {
		_, in := e.wire(raw)
		if _, err := io.ReadAll(in); err != nil {
			t.Errorf("%s: %v, want the end of the connection", name, err)
		}
	}

	put(t, e.client(owner), "large", strings.Repeat("z", 24<<20))
	_, in = e.wire(e.rawHead(e.signed(owner, "GET", "/photos/large", nil)) + "\r\n")
	for { // nobody reads until the server has given up
		o := <-e.seen
		if o.Op == "GetObject" {
			if o.Out >= 24<<20 {
				t.Errorf("sent %d bytes to a client that does not read", o.Out)
			}
			break
		}
	}
	if n, err := io.Copy(io.Discard, in); err == nil && n >= 24<<20 {
		t.Errorf("read %d bytes: the body looks whole", n)
	}
}

func TestNoSmuggling(t *testing.T) {
	e := start(t, setup{})
	put(t, e.client(owner), "victim", "v")
	inner := e.rawHead(e.signed(owner, "DELETE", "/photos/victim", nil)) + "\r\n"
	outer := e.signed(reader, "PUT", "/photos/x", make([]byte, len(inner)+9000))
	for name, raw := range map[string]string{
		// Refused from its headers; the body is a request of its own.
		"unread body":  e.rawHead(outer) + fmt.Sprintf("Content-Length: %d\r\n\r\n", len(inner)+9000) + strings.Repeat("x", 9000) + inner,
		"unread chunk": e.rawHead(outer) + "Transfer-Encoding: chunked\r\n\r\n" + fmt.Sprintf("%x\r\n", len(inner)) + inner + "\r\n0\r\n\r\n",
		"two lengths":  e.rawHead(outer) + fmt.Sprintf("Content-Length: 0\r\nContent-Length: %d\r\n\r\n", len(inner)) + inner,
		"both framings": e.rawHead(outer) + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n" +
			fmt.Sprintf("%x\r\n", len(inner)) + inner + "\r\n0\r\n\r\n",
		"two hosts":      "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n" + inner,
		"obscure coding": e.rawHead(outer) + "Transfer-Encoding: xchunked\r\nContent-Length: 0\r\n\r\n" + inner,
		"folded":         e.rawHead(outer) + fmt.Sprintf("X-A: b\r\n Content-Length: 0\r\nContent-Length: %d\r\n\r\n", len(inner)) + inner,
		"bare LF":        "GET /photos HTTP/1.1\nHost: a\n\n",
	} {
		c, in := e.wire(raw)
		c.(interface{ CloseWrite() error }).CloseWrite()
		for {
			resp, err := http.ReadResponse(in, nil)
			if err != nil {
				break
			}
			if resp.StatusCode == http.StatusNoContent {
				t.Errorf("%s: the inner request ran", name)
			}
			io.Copy(io.Discard, resp.Body)
		}
	}
	if a := e.request(owner, "HEAD", "/photos/victim", nil); a.StatusCode != http.StatusOK {
		t.Errorf("the victim is gone: %d", a.StatusCode)
	}
}

func TestHeads(t *testing.T) {
	e := start(t, setup{})
	_, in := e.wire("GET /photos HTTP/1.1\r\nHost: x\r\nX-Pad: " + strings.Repeat("p", 64<<10) + "\r\n\r\n")
	resp := must[*http.Response](t)(http.ReadResponse(in, nil))
	if b, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge || !bytes.Contains(b, []byte("RequestHeaderSectionTooLarge")) || resp.Header.Get("X-Amz-Request-Id") == "" {
		t.Errorf("large head: %d %s", resp.StatusCode, b)
	}
	_, in = e.wire("not http at all\r\n\r\n")
	resp = must[*http.Response](t)(http.ReadResponse(in, nil))
	if b, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusBadRequest || !bytes.Contains(b, []byte("<Code>BadRequest</Code>")) {
		t.Errorf("no HTTP: %d %s", resp.StatusCode, b)
	}
	if a := e.request(owner, "GET", "/photos/k", nil, "X-Pad", strings.Repeat("p", 12<<10)); a.StatusCode != http.StatusNotFound {
		t.Errorf("12 KiB of headers: %d", a.StatusCode)
	}
}

func TestExpectIsDeniedBeforeTheBody(t *testing.T) {
	e := start(t, setup{})
	head := func(k control.Key) string {
		r := e.signed(k, "PUT", "/photos/huge", make([]byte, 1<<30>>10))
		r.Header.Set("Content-Length", fmt.Sprint(1<<30>>10))
		r.Header.Set("Expect", "100-continue")
		return e.rawHead(r) + "\r\n"
	}
	_, in := e.wire(head(reader))
	line, _ := in.ReadString('\n')
	rest, err := io.ReadAll(in)
	if !strings.HasPrefix(line, "HTTP/1.1 403") || !bytes.Contains(rest, []byte("<Code>AccessDenied</Code>")) || err != nil {
		t.Errorf("denied: %q %s %v", line, rest, err)
	}
	c, in := e.wire(head(owner))
	if line, _ = in.ReadString('\n'); !strings.HasPrefix(line, "HTTP/1.1 100") {
		t.Fatalf("allowed: %q", line)
	}
	in.ReadString('\n')
	c.Write(make([]byte, 1<<30>>10))
	if resp := must[*http.Response](t)(http.ReadResponse(in, nil)); resp.StatusCode != http.StatusOK {
		t.Errorf("after 100: %d", resp.StatusCode)
	}
}

func TestEarlyAnswersReachClients(t *testing.T) {
	e := start(t, setup{})
	for range 10 {
		_, err := e.client(reader).PutObject(ctx, &sdk.PutObjectInput{Bucket: aws.String(bucket), Key: aws.String("k"), Body: bytes.NewReader(make([]byte, 16<<20))})
		wantCode(t, err, "AccessDenied")
	}
}

// broken is a store whose reads or writes go wrong.
type broken struct {
	objects.Store
	get  func() (objects.Info, io.ReadCloser, error)
	list func(ctx context.Context) error
}

func (b *broken) Get(context.Context, objects.GetInput) (objects.Info, io.ReadCloser, error) {
	return b.get()
}

func (b *broken) List(ctx context.Context, _ objects.ListInput) (objects.Listing, error) {
	return objects.Listing{}, b.list(ctx)
}

type failing struct {
	io.Reader
	closed *atomic.Bool
}

func (f failing) Close() error { f.closed.Store(true); return nil }

func TestFailedReadsLookFailed(t *testing.T) {
	var closed atomic.Bool
	var body io.Reader
	store := &broken{get: func() (objects.Info, io.ReadCloser, error) {
		return objects.Info{Size: 1 << 20, Length: 1 << 20}, failing{body, &closed}, nil
	}}
	e := start(t, setup{store: store})
	for name, r := range map[string]io.Reader{
		"error":     io.MultiReader(bytes.NewReader(make([]byte, 1000)), errReader{}),
		"short":     bytes.NewReader(make([]byte, 1<<20-1)),
		"at once":   errReader{},
		"panicking": panicReader{},
	} {
		body = r
		closed.Store(false)
		_, in := e.wire(e.rawHead(e.signed(owner, "GET", "/photos/k", nil)) + "\r\n")
		n := int64(0)
		resp, err := http.ReadResponse(in, nil)
		if err == nil {
			n, err = io.Copy(io.Discard, resp.Body)
		}
		if err == nil {
			t.Errorf("%s: read %d bytes as a whole body", name, n)
		}
		if o := <-e.seen; o.Op != "GetObject" || !closed.Load() {
			t.Errorf("%s: %+v, closed %v", name, o, closed.Load())
		}
	}
	body = bytes.NewReader(make([]byte, 2<<20))
	_, in := e.wire(e.rawHead(e.signed(owner, "GET", "/photos/k", nil)) + "\r\n")
	resp := must[*http.Response](t)(http.ReadResponse(in, nil))
	if n, err := io.Copy(io.Discard, resp.Body); n > 1<<20 || err != nil {
		t.Errorf("too long: %d bytes, %v", n, err)
	}
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, fault.New(fault.Corrupt, "no good copy") }

type panicReader struct{}

func (panicReader) Read([]byte) (int, error) { panic("broken store") }

func TestErrorsOfTheStore(t *testing.T) {
	store := &broken{}
	e := start(t, setup{store: store})
	for _, c := range []struct {
		err    error
		status int
		code   string
	}{
		{fault.New(fault.Unavailable, "too few replicas"), 503, "ServiceUnavailable"},
		{fault.New(fault.Indeterminate, "no answer"), 503, "ServiceUnavailable"},
		{fault.New(fault.Overloaded, "queue full"), 503, "SlowDown"},
		{fault.New(fault.StorageFull, "disk"), 507, "InsufficientStorage"},
		{fault.New(fault.Corrupt, "bad"), 500, "InternalError"},
		{fault.New(fault.QuotaExceeded, "limit"), 403, "QuotaExceeded"},
		{errors.New("secret detail"), 500, "InternalError"},
		{fmt.Errorf("deep: %w", fault.Wrap(fault.NotFound, objects.ErrNoSuchKey, "k")), 404, "NoSuchKey"},
	} {
		store.list = func(context.Context) error { return c.err }
		a := e.request(owner, "GET", "/photos", nil)
		a.want(t, c.err.Error(), c.status, c.code)
		if (c.status == 503) != (a.Header.Get("Retry-After") != "") || strings.Contains(a.body, "secret") {
			t.Errorf("%v: %v %s", c.err, a.Header, a.body)
		}
	}
	store.list = func(context.Context) error { panic("boom") }
	e.request(owner, "GET", "/photos", nil).want(t, "panic", 500, "InternalError")
}

func TestTooManyRequests(t *testing.T) {
	release, entered := make(chan struct{}), make(chan struct{}, 8)
	store := &broken{list: func(context.Context) error { entered <- struct{}{}; <-release; return nil }}
	e := start(t, setup{store: store, http: httpd.Config{MaxRequests: 2}})
	answers := make(chan int, 2)
	for range 2 {
		go func() { answers <- e.request(owner, "GET", "/photos", nil).StatusCode }()
		<-entered
	}
	e.request(owner, "GET", "/photos", nil).want(t, "third", 503, "SlowDown")
	close(release)
	for range 2 {
		if s := <-answers; s != 200 {
			t.Errorf("under way: %d", s)
		}
	}
	if a := e.request(owner, "GET", "/photos", nil); a.StatusCode != http.StatusOK {
		t.Errorf("afterwards: %d", a.StatusCode)
	}
}

func TestStoppingFinishesWhatIsUnderWay(t *testing.T) {
	release, entered := make(chan struct{}), make(chan struct{}, 1)
	store := &broken{list: func(context.Context) error { entered <- struct{}{}; <-release; return nil }}
	e := start(t, setup{store: store, http: httpd.Config{Grace: 10 * time.Second}})
	_, silent := e.wire("")
	answers := make(chan int, 1)
	go func() { answers <- e.request(owner, "GET", "/photos", nil).StatusCode }()
	<-entered
	stopped := make(chan struct{})
	go func() { e.stop(); close(stopped) }()
	if _, err := silent.ReadByte(); err == nil { // closed at once, which shows that stopping began
		t.Error("a byte out of nothing")
	}
	close(release)
	if s := <-answers; s != 200 {
		t.Errorf("under way: %d", s)
	}
	<-stopped
}

func TestStoppingGivesUpAfterItsGrace(t *testing.T) {
	entered := make(chan struct{}, 1)
	store := &broken{list: func(ctx context.Context) error { entered <- struct{}{}; <-ctx.Done(); return ctx.Err() }}
	e := start(t, setup{store: store, http: httpd.Config{Grace: 50 * time.Millisecond}})
	_, in := e.wire(e.rawHead(e.signed(owner, "GET", "/photos", nil)) + "\r\n")
	<-entered
	e.stop()
	if _, err := bufio.NewReader(in).ReadByte(); err == nil {
		t.Log("answered in the end")
	}
}
