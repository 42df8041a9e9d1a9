package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/md5"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"net/http"
	"strings"
	"testing"
	"time"

	"hangar/tests/harness"
)

// badSizes are an object kept in its row and one kept in several blocks.
var badSizes = []int{1000, 2<<20 + 5}

func crc32Text(b []byte) string {
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE(b)))
}

func md5Text(b []byte) string {
	s := md5.Sum(b)
	return base64.StdEncoding.EncodeToString(s[:])
}

// untouched uploads badly to a key that does not exist and to one that does;
// neither may change.
func untouched(t *testing.T, s *harness.Server, size int, bad func(key string)) {
	t.Helper()
	ctx := testContext(t, time.Minute)
	c := harness.SDK(s.S3)
	absent, present := uniqueKey(t)+"-absent", uniqueKey(t)+"-present"
	old := content(7, size+1)
	if err := put(ctx, c, present, old); err != nil {
		t.Fatal(err)
	}
	bad(absent)
	bad(present)
	if b, err := get(ctx, c, absent); code(err) != "NoSuchKey" {
		t.Errorf("a failed upload left %d bytes, %v", len(b), err)
	}
	if b, err := get(ctx, c, present); err != nil || !bytes.Equal(b, old) {
		t.Errorf("a failed upload changed the object: %d bytes of %d, %v", len(b), len(old), err)
	}
}

// TestWrongBodiesStoreNothing: each way in which a body can differ from what
// its head says.
func TestWrongBodiesStoreNothing(t *testing.T) {
	s := sharedServer(t)
	for _, c := range []struct {
		name   string
		spoil  func(w *wireRequest)
		status int
		code   string
	}{
		{"content-md5", func(w *wireRequest) {
			w.headers = append(w.headers, [2]string{"content-md5", md5Text([]byte("other"))})
		}, 400, "BadDigest"},
		{"content-md5-unreadable", func(w *wireRequest) { w.headers = append(w.headers, [2]string{"content-md5", "bm90IG1kNQ=="}) }, 400, "InvalidDigest"},
		{"sha256", func(w *wireRequest) { w.payload = hexSum([]byte("other")) }, 400, "XAmzContentSHA256Mismatch"},
		{"sha256-unreadable", func(w *wireRequest) { w.payload = "beef" }, 400, "InvalidArgument"},
		{"checksum", func(w *wireRequest) {
			w.headers = append(w.headers, [2]string{"x-amz-checksum-crc32", crc32Text([]byte("other"))})
		}, 400, "BadDigest"},
		{"checksum-unreadable", func(w *wireRequest) {
			w.headers = append(w.headers, [2]string{"x-amz-checksum-crc32", "AA=="})
		}, 400, "InvalidRequest"},
		{"checksum-unknown", func(w *wireRequest) {
			w.headers = append(w.headers, [2]string{"x-amz-checksum-xxhash", "AAAAAA=="})
		}, 400, "InvalidRequest"},
		{"two-checksums", func(w *wireRequest) {
			w.headers = append(w.headers, [2]string{"x-amz-checksum-crc32", crc32Text(w.body)}, [2]string{"x-amz-checksum-sha1", "2jmj7l5rSw0yVb/vlWAYkK/YBwk="})
		}, 400, "InvalidRequest"},
		{"no-length", func(w *wireRequest) { w.length, w.body = -1, nil }, 411, "MissingContentLength"},
		{"negative-length", func(w *wireRequest) { w.length = -1; w.unsignedHeaders = [][2]string{{"content-length", "-5"}} }, 400, "BadRequest"},
		{"beyond-5-gib", func(w *wireRequest) { w.length, w.payload = 5<<30+1, unsigned }, 400, "EntityTooLarge"},
		{"unsigned-part-of-signature", func(w *wireRequest) { w.unsignedHeaders = [][2]string{{"x-amz-meta-forged", "1"}} }, 403, "AccessDenied"},
	} {
		for _, size := range badSizes {
			t.Run(fmt.Sprint(c.name, size), func(t *testing.T) {
				untouched(t, s, size, func(key string) {
					w := &wireRequest{method: http.MethodPut, target: objectPath(key), body: content(1, size)}
					c.spoil(w)
					w.send(t, s.S3).want(t, c.name, c.status, c.code)
				})
			})
		}
	}
}

// TestTruncatedBodyStoresNothing ends uploads early, politely and with a reset.
func TestTruncatedBodyStoresNothing(t *testing.T) {
	s := sharedServer(t)
	for _, payload := range []string{"", unsigned, signedChunks, unsignedTrailer} {
		for _, size := range badSizes {
			t.Run(fmt.Sprint(payload, size), func(t *testing.T) {
				untouched(t, s, size, func(key string) {
					half := content(1, size)[:size/2]
					truncated(t, s.S3, key, payload, size, half, false).want(t, "FIN", 400, "IncompleteBody")
					truncated(t, s.S3, key, payload, size, half, true)
				})
			})
		}
	}
}

// truncated announces size bytes, sends less and goes away; it returns the
// answer where one can be read.
func truncated(t *testing.T, endpoint, key, payload string, size int, sent []byte, reset bool) *wireAnswer {
	t.Helper()
	c := dial(t, endpoint)
	w := &wireRequest{method: http.MethodPut, target: objectPath(key), length: size, payload: payload}
	body := &chunked{spoil: -1}
	if strings.HasPrefix(payload, "STREAMING") {
		w.headers = [][2]string{{"content-encoding", "aws-chunked"}, {"x-amz-decoded-content-length", fmt.Sprint(size)}}
		w.length = size + 500
	} else if payload == "" {
		w.payload = hexSum(content(1, size))
	}
	head, sig := w.head(c.RemoteAddr().String())
	switch payload {
	case signedChunks:
		body.s = sig
		body.chunk(sent)
	case unsignedTrailer:
		body.chunk(sent)
	default:
		body.Write(sent)
	}
	if _, err := c.Write(append([]byte(head), body.Bytes()...)); err != nil {
		t.Fatal(err)
	}
	if reset {
		if err := c.SetLinger(0); err != nil {
			t.Fatal(err)
		}
		c.Close()
		return nil
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	return readAnswer(t, bufio.NewReader(c), http.MethodPut)
}

// TestWrongChunksStoreNothing: the framing of aws-chunked bodies.
func TestWrongChunksStoreNothing(t *testing.T) {
	s := sharedServer(t)
	const size = 3 * 70000
	body := content(1, size)
	type build func(c *chunked)
	whole := func(c *chunked) {
		for i := range 3 {
			c.chunk(body[i*70000 : (i+1)*70000])
		}
		c.chunk(nil)
	}
	for _, c := range []struct {
		name, payload, trailer string
		spoil, length          int
		build                  build
		status                 int
		code                   string
	}{
		{"first-signature", signedChunks, "", 0, size, func(c *chunked) { whole(c); c.WriteString("\r\n") }, 403, "SignatureDoesNotMatch"},
		{"middle-signature", signedChunks, "", 1, size, func(c *chunked) { whole(c); c.WriteString("\r\n") }, 403, "SignatureDoesNotMatch"},
		{"last-signature", signedChunks, "", 3, size, func(c *chunked) { whole(c); c.WriteString("\r\n") }, 403, "SignatureDoesNotMatch"},
		{"no-last-chunk", signedChunks, "", -1, size, func(c *chunked) { c.chunk(body) }, 400, "IncompleteBody"},
		{"less-than-announced", signedChunks, "", -1, size + 1, func(c *chunked) { whole(c); c.WriteString("\r\n") }, 400, "IncompleteBody"},
		{"more-than-announced", signedChunks, "", -1, size - 1, func(c *chunked) { whole(c); c.WriteString("\r\n") }, 400, "InvalidRequest"},
		{"trailer-sum", unsignedTrailer, "x-amz-checksum-crc32", -1, size, func(c *chunked) { whole(c); c.trailer("x-amz-checksum-crc32", crc32Text(nil)); c.WriteString("\r\n") }, 400, "BadDigest"},
		{"signed-trailer-sum", signedTrailer, "x-amz-checksum-crc32", -1, size, func(c *chunked) { whole(c); c.trailer("x-amz-checksum-crc32", crc32Text(nil)); c.WriteString("\r\n") }, 400, "BadDigest"},
		{"trailer-signature", signedTrailer, "x-amz-checksum-crc32", -1, size, func(c *chunked) {
			whole(c)
			c.s.prev = hexSum(nil)
			c.trailer("x-amz-checksum-crc32", crc32Text(body))
			c.WriteString("\r\n")
		}, 403, "SignatureDoesNotMatch"},
		{"missing-trailer", unsignedTrailer, "x-amz-checksum-crc32", -1, size, func(c *chunked) { whole(c); c.WriteString("\r\n") }, 400, "MalformedTrailerError"},
		{"other-trailer", unsignedTrailer, "x-amz-checksum-crc32", -1, size, func(c *chunked) {
			whole(c)
			c.trailer("x-amz-checksum-sha1", "2jmj7l5rSw0yVb/vlWAYkK/YBwk=")
			c.WriteString("\r\n")
		}, 400, "MalformedTrailerError"},
		{"no-framing", unsignedTrailer, "x-amz-checksum-crc32", -1, size, func(c *chunked) { c.Write(body) }, 400, "InvalidRequest"},
	} {
		t.Run(c.name, func(t *testing.T) {
			untouched(t, s, size, func(key string) {
				sendChunked(t, s.S3, key, c.payload, c.trailer, c.length, c.spoil, c.build).want(t, c.name, c.status, c.code)
			})
		})
	}
	// The same code builds what is right.
	for payload, build := range map[string]build{
		signedChunks:    func(c *chunked) { whole(c); c.WriteString("\r\n") },
		signedTrailer:   func(c *chunked) { whole(c); c.trailer("x-amz-checksum-crc32", crc32Text(body)); c.WriteString("\r\n") },
		unsignedTrailer: func(c *chunked) { whole(c); c.trailer("x-amz-checksum-crc32", crc32Text(body)); c.WriteString("\r\n") },
	} {
		key, trailer := uniqueKey(t), ""
		if payload != signedChunks {
			trailer = "x-amz-checksum-crc32"
		}
		if a := sendChunked(t, s.S3, key, payload, trailer, size, -1, build); a.StatusCode != http.StatusOK {
			t.Errorf("%s: %v", payload, a)
		}
		if b, err := get(testContext(t, time.Minute), harness.SDK(s.S3), key); err != nil || !bytes.Equal(b, body) {
			t.Errorf("%s: %d bytes, %v", payload, len(b), err)
		}
	}
}

func sendChunked(t *testing.T, endpoint, key, payload, trailer string, length, spoil int, build func(*chunked)) *wireAnswer {
	t.Helper()
	frame := func(s *signer) []byte {
		c := &chunked{s: s, spoil: spoil}
		build(c)
		return c.Bytes()
	}
	w := &wireRequest{method: http.MethodPut, target: objectPath(key), payload: payload,
		headers: [][2]string{{"content-encoding", "aws-chunked"}, {"x-amz-decoded-content-length", fmt.Sprint(length)}}}
	if trailer != "" {
		w.headers = append(w.headers, [2]string{"x-amz-trailer", trailer})
	}
	c := dial(t, endpoint)
	host := c.RemoteAddr().String()
	// Content-Length is not signed, and a body is as long whatever its signatures.
	_, sig := w.head(host)
	if payload == unsignedTrailer {
		sig = nil
	}
	body := frame(sig)
	w.length = len(body)
	w.at = time.Now()
	head, sig := w.head(host)
	if payload != unsignedTrailer {
		body = frame(sig)
	}
	// The server may answer before it has read everything.
	_, _ = c.Write(append([]byte(head), body...))
	return readAnswer(t, bufio.NewReader(c), http.MethodPut)
}

// TestBytesAfterTheBody: what follows a declared length is another request,
// and a bad one does not harm the first.
func TestBytesAfterTheBody(t *testing.T) {
	s := sharedServer(t)
	key, body := uniqueKey(t), content(2, 100000)
	c := dial(t, s.S3)
	w := &wireRequest{method: http.MethodPut, target: objectPath(key), body: body}
	head, _ := w.head(c.RemoteAddr().String())
	if _, err := c.Write([]byte(head + string(body) + "these bytes are one too many\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(c)
	if a := readAnswer(t, r, http.MethodPut); a.StatusCode != http.StatusOK {
		t.Fatalf("the first request: %v", a)
	}
	readAnswer(t, r, http.MethodGet).want(t, "what followed", 400, "BadRequest")
	if b, err := get(context.Background(), harness.SDK(s.S3), key); err != nil || !bytes.Equal(b, body) {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}
