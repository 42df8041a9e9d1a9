package content

import (
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"hangar/services/gateway/internal/checksum"
	"hangar/services/gateway/internal/chunk"
	"hangar/services/gateway/internal/sigv4"
	"hangar/shared/fault"
)

const limit = 1 << 20

var testBody = bytes.Repeat([]byte("Hangar keeps it. "), 500)

func value(a checksum.Algorithm, body []byte) string {
	h := a.New()
	h.Write(body)
	return checksum.Encode(h.Sum(nil))
}

func md5Text(body []byte) string {
	sum := md5.Sum(body)
	return base64.StdEncoding.EncodeToString(sum[:])
}

func headers(pairs ...string) (h sigv4.Headers) {
	for i := 0; i < len(pairs); i += 2 {
		h = append(h, sigv4.Header{Name: pairs[i], Value: pairs[i+1]})
	}
	return h
}

// plain is a source of body as it is.
func plain(body []byte, pairs ...string) Source {
	return Source{Reader: bytes.NewReader(body), Length: int64(len(body)), Headers: headers(pairs...),
		Identity: &sigv4.Identity{KeyID: "k"}, Limit: limit}
}

// framed is a source of body in unsigned chunks with trailers.
func framed(body []byte, trailers []chunk.Trailer, pairs ...string) Source {
	wire := chunk.Encode(body, 1000, nil, trailers...)
	s := plain(wire, append(pairs, "x-amz-decoded-content-length", strconv.Itoa(len(body)))...)
	s.Identity.Payload = sigv4.PayloadStreamUnsignedTrailer
	return s
}

// read reads a source to its end or first error, in New or after.
func read(s Source) ([]byte, *Body, error) {
	b, err := New(s)
	if err != nil {
		return nil, nil, err
	}
	data, err := io.ReadAll(b)
	if err == nil {
		if n, again := b.Read(make([]byte, 1)); n != 0 || !errors.Is(again, io.EOF) {
			return nil, nil, errors.New("something after the end")
		}
	} else if _, again := b.Read(make([]byte, 1)); !errors.Is(again, err) {
		return nil, nil, errors.New("the error does not stay")
	}
	return data, b, err
}

func TestAccepted(t *testing.T) {
	signed := plain(testBody)
	signed.Identity.Payload, signed.Identity.PayloadSHA256 = sigv4.PayloadHash, sha256.Sum256(testBody)
	both := plain(testBody, "x-amz-checksum-sha256", value(checksum.SHA256, testBody))
	both.Identity = signed.Identity
	both.Reader = bytes.NewReader(testBody)
	unknown := plain(testBody)
	unknown.Length = -1
	anonymous := framed(testBody, nil, "x-amz-content-sha256", sigv4.StreamingUnsignedTrailer)
	anonymous.Identity = nil
	foreign := plain(testBody, "x-amz-checksum-crc32", value(checksum.CRC32, nil))
	foreign.ForeignChecksum = true
	ended := plain(testBody)
	ended.Reader = iotest.DataErrReader(ended.Reader)
	for name, tc := range map[string]struct {
		s    Source
		want checksum.Algorithm
	}{
		"plain":           {plain(testBody), ""},
		"md5":             {plain(testBody, "Content-MD5", md5Text(testBody)), ""},
		"signed":          {signed, ""},
		"signed, sha256":  {both, checksum.SHA256},
		"unknown length":  {unknown, ""},
		"framed":          {framed(testBody, nil), ""},
		"anonymous":       {anonymous, ""},
		"foreign":         {foreign, ""},
		"EOF with data":   {ended, ""},
		"one byte a time": {Source{Reader: iotest.OneByteReader(bytes.NewReader(testBody)), Length: int64(len(testBody)), Limit: limit}, ""},
	} {
		data, b, err := read(tc.s)
		if err != nil || !bytes.Equal(data, testBody) {
			t.Errorf("%s: %d bytes, %v", name, len(data), err)
			continue
		}
		if b.MD5() != md5.Sum(testBody) {
			t.Errorf("%s: wrong MD5", name)
		}
		if got := b.Checksum(); checksum.Algorithm(got.Algorithm) != tc.want {
			t.Errorf("%s: checksum %v", name, got)
		}
		if size := b.Size(); size != int64(len(testBody)) && (name != "unknown length" || size != -1) {
			t.Errorf("%s: size %d", name, size)
		}
	}
	for _, s := range []Source{{Length: 0, Limit: limit}, plain(nil)} {
		data, b, err := read(s)
		if err != nil || len(data) != 0 || b.MD5() != md5.Sum(nil) || b.Size() != 0 {
			t.Errorf("empty: %d bytes, %v", len(data), err)
		}
	}
}

func TestChecksums(t *testing.T) {
	for _, a := range checksum.Algorithms {
		right, wrong := value(a, testBody), value(a, testBody[1:])
		announce := []string{"x-amz-trailer", a.Header(), "x-amz-sdk-checksum-algorithm", string(a)}
		for name, tc := range map[string]struct {
			s    Source
			want error
		}{
			"header":              {plain(testBody, a.Header(), right), nil},
			"header and name":     {plain(testBody, a.Header(), right, "x-amz-sdk-checksum-algorithm", string(a)), nil},
			"wrong header":        {plain(testBody, a.Header(), wrong), ErrBadDigest},
			"unreadable header":   {plain(testBody, a.Header(), right[1:]), ErrInvalidRequest},
			"header twice":        {plain(testBody, a.Header(), right, a.Header(), right), ErrInvalidRequest},
			"trailer":             {framed(testBody, []chunk.Trailer{{Name: a.Header(), Value: right}}, announce...), nil},
			"wrong trailer":       {framed(testBody, []chunk.Trailer{{Name: a.Header(), Value: wrong}}, announce...), ErrBadDigest},
			"unreadable trailer":  {framed(testBody, []chunk.Trailer{{Name: a.Header(), Value: "x"}}, announce...), ErrInvalidRequest},
			"missing trailer":     {framed(testBody, nil, announce...), ErrMalformedTrailer},
			"unannounced trailer": {framed(testBody, []chunk.Trailer{{Name: a.Header(), Value: right}}), ErrMalformedTrailer},
			"another trailer":     {framed(testBody, []chunk.Trailer{{Name: "x-amz-meta-a", Value: right}}, announce...), ErrMalformedTrailer},
			"one trailer more": {framed(testBody, []chunk.Trailer{{Name: a.Header(), Value: right}, {Name: "x-amz-meta-a", Value: "b"}},
				announce...), ErrMalformedTrailer},
			"header and trailer": {framed(testBody, []chunk.Trailer{{Name: a.Header(), Value: right}},
				append(announce, a.Header(), right)...), ErrInvalidRequest},
			"header in a framed body": {framed(testBody, nil, a.Header(), right), nil},
			"trailer but not framed":  {plain(testBody, announce...), ErrInvalidRequest},
		} {
			_, b, err := read(tc.s)
			if !errors.Is(err, tc.want) {
				t.Errorf("%s %s: got %v, want %v", a, name, err, tc.want)
			} else if err == nil && (checksum.Algorithm(b.Checksum().Algorithm) != a || checksum.Encode(b.Checksum().Value) != right) {
				t.Errorf("%s %s: %v", a, name, b.Checksum())
			} else if err != nil && !fault.Is(err, fault.Invalid) {
				t.Errorf("%s %s: kind %v", a, name, fault.KindOf(err))
			}
		}
	}
}

func TestRefused(t *testing.T) {
	changed := bytes.Clone(testBody)
	changed[100] ^= 1
	hashed := func(body []byte) Source {
		s := plain(body)
		s.Identity.Payload, s.Identity.PayloadSHA256 = sigv4.PayloadHash, sha256.Sum256(testBody)
		return s
	}
	with := func(s Source, change func(*Source)) Source { change(&s); return s }
	anonymous := func(s *Source) { s.Identity = nil }
	for _, tc := range []struct {
		name string
		s    Source
		want error
	}{
		{"short", with(plain(testBody), func(s *Source) { s.Length++ }), ErrIncompleteBody},
		{"long", with(plain(testBody), func(s *Source) { s.Length-- }), ErrInvalidRequest},
		{"no reader", with(plain(testBody), func(s *Source) { s.Reader = nil }), ErrIncompleteBody},
		{"nothing", Source{Length: -1, Limit: limit}, ErrMissingContentLength},
		{"over the limit", with(plain(testBody), func(s *Source) { s.Limit = 100 }), ErrEntityTooLarge},
		{"over the limit unannounced", with(plain(testBody), func(s *Source) { s.Limit, s.Length = 100, -1 }), ErrEntityTooLarge},
		{"over the limit framed", with(framed(testBody, nil), func(s *Source) { s.Limit = 100 }), ErrEntityTooLarge},
		{"md5", plain(changed, "Content-MD5", md5Text(testBody)), ErrBadDigest},
		{"unreadable md5", plain(testBody, "Content-MD5", "x"), ErrInvalidDigest},
		{"short md5", plain(testBody, "Content-MD5", "AAAA"), ErrInvalidDigest},
		{"empty md5", plain(testBody, "Content-MD5", ""), ErrInvalidDigest},
		{"two md5", plain(testBody, "Content-MD5", md5Text(testBody), "Content-MD5", md5Text(testBody)), ErrInvalidDigest},
		{"sha256", hashed(changed), ErrSHA256Mismatch},
		{"sha256 of less", hashed(testBody[1:]), ErrSHA256Mismatch},
		{"anonymous sha256", with(plain(changed, "x-amz-content-sha256", sigv4.HashPayload(testBody)), anonymous), ErrSHA256Mismatch},
		{"anonymous signed chunks", with(plain(testBody, "x-amz-content-sha256", sigv4.StreamingSignedPayload), anonymous), ErrInvalidRequest},
		{"two checksums", plain(testBody, "x-amz-checksum-crc32", value(checksum.CRC32, testBody),
			"x-amz-checksum-crc32c", value(checksum.CRC32C, testBody)), ErrInvalidRequest},
		{"unknown checksum", plain(testBody, "X-Amz-Checksum-Sha512", "AAAA"), ErrInvalidRequest},
		{"two trailers", framed(testBody, nil, "x-amz-trailer", "x-amz-checksum-crc32,x-amz-checksum-crc32c"), ErrInvalidRequest},
		{"unknown trailer", framed(testBody, nil, "x-amz-trailer", "x-amz-meta-a"), ErrInvalidRequest},
		{"algorithm without value", plain(testBody, "x-amz-sdk-checksum-algorithm", "CRC32"), ErrInvalidRequest},
		{"unknown algorithm", plain(testBody, "x-amz-sdk-checksum-algorithm", "MD4", "x-amz-checksum-crc32",
			value(checksum.CRC32, testBody)), ErrInvalidRequest},
		{"another algorithm", plain(testBody, "x-amz-sdk-checksum-algorithm", "CRC32C", "x-amz-checksum-crc32",
			value(checksum.CRC32, testBody)), ErrInvalidRequest},
		{"framed without length", with(framed(testBody, nil), func(s *Source) { s.Headers = nil }), ErrMissingContentLength},
		{"framed with a bad length", with(framed(testBody, nil), func(s *Source) { s.Headers[0].Value = "-1" }), ErrInvalidRequest},
		{"framed with two lengths", framed(testBody, nil, "x-amz-decoded-content-length", "1"), ErrInvalidRequest},
		{"framed, more than the wire", with(framed(testBody, nil), func(s *Source) { s.Headers[0].Value = "100000" }), ErrIncompleteBody},
		{"framed, less than the data", with(framed(testBody, nil), func(s *Source) { s.Headers[0].Value = "10" }), ErrMalformedChunk},
		{"framed length, plain body", plain(testBody, "x-amz-decoded-content-length", "1"), ErrInvalidRequest},
	} {
		_, _, err := read(tc.s)
		if !errors.Is(err, tc.want) || !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: got %v, want %v", tc.name, err, tc.want)
		}
	}
}

func TestTruncation(t *testing.T) {
	for name, whole := range map[string]Source{"plain": plain(testBody[:300]), "framed": framed(testBody[:300], nil)} {
		wire, err := io.ReadAll(whole.Reader)
		if err != nil {
			t.Fatal(err)
		}
		for n := range len(wire) {
			s := whole
			s.Reader = bytes.NewReader(wire[:n])
			if _, _, err := read(s); !errors.Is(err, ErrIncompleteBody) {
				t.Fatalf("%s cut at %d of %d: %v", name, n, len(wire), err)
			}
		}
	}
}

func TestBrokenConnection(t *testing.T) {
	reset := &net.OpError{Op: "read", Err: errors.New("connection reset by peer")}
	own := fault.New(fault.Overloaded, "the edge's own")
	for _, tc := range []struct {
		err, want error
		kind      fault.Kind
	}{
		{reset, ErrIncompleteBody, fault.Canceled},
		{io.ErrUnexpectedEOF, ErrIncompleteBody, fault.Invalid},
		{&net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}, ErrRequestTimeout, fault.Invalid},
		{&net.OpError{Op: "read", Err: io.EOF}, ErrIncompleteBody, fault.Invalid},
		{own, own, fault.Overloaded},
	} {
		for _, s := range []Source{plain(testBody), framed(testBody, nil)} {
			s.Reader = io.MultiReader(io.LimitReader(s.Reader, 3000), iotest.ErrReader(tc.err))
			if _, _, err := read(s); !errors.Is(err, tc.want) || fault.KindOf(err) != tc.kind || errors.Is(err, io.EOF) {
				t.Errorf("%v: got %v", tc.err, err)
			}
		}
	}
}

func TestRequire(t *testing.T) {
	for _, a := range checksum.Algorithms {
		b, err := New(plain(testBody))
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Require(a); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, b); err != nil {
			t.Fatal(err)
		}
		if got := checksum.Encode(b.Checksum().Value); got != value(a, testBody) {
			t.Errorf("%s: %s", a, got)
		}
	}
	b, err := New(plain(testBody, "x-amz-checksum-crc32", value(checksum.CRC32, testBody)))
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Require(checksum.CRC32); err != nil {
		t.Error(err)
	}
	if err := b.Require(checksum.CRC32C); !errors.Is(err, ErrInvalidRequest) {
		t.Errorf("another one: %v", err)
	}
}

// FuzzHeaders checks that no head makes wrong content end cleanly, or crash.
func FuzzHeaders(f *testing.F) {
	f.Add("x-amz-checksum-crc32", value(checksum.CRC32, testBody), "x-amz-sdk-checksum-algorithm", "CRC32", []byte("abc"), true)
	f.Add("content-md5", md5Text(testBody), "x-amz-trailer", "x-amz-checksum-crc32", []byte("3\r\nabc\r\n0\r\n\r\n"), false)
	f.Add("x-amz-decoded-content-length", "3", "x-amz-content-sha256", sigv4.StreamingUnsignedTrailer, []byte("3\r\nabc\r\n0\r\n\r\n"), false)
	f.Fuzz(func(t *testing.T, name1, value1, name2, value2 string, body []byte, identified bool) {
		s := plain(body, name1, value1, name2, value2)
		if !identified {
			s.Identity = nil
		}
		data, b, err := read(s)
		if err != nil {
			return
		}
		if b.MD5() != md5.Sum(data) || b.Size() != int64(len(data)) {
			t.Fatal("wrong MD5 or size")
		}
		for _, h := range s.Headers {
			a, ok := checksum.FromHeader(h.Name)
			if ok && h.Value != value(a, data) || strings.EqualFold(h.Name, "content-md5") && h.Value != md5Text(data) {
				t.Fatalf("%s: %s passed", h.Name, h.Value)
			}
		}
	})
}

func BenchmarkBody(b *testing.B) {
	body := bytes.Repeat([]byte("0123456789abcdef"), 8<<20/16)
	bench := func(name string, make func() Source) {
		b.Run(name, func(b *testing.B) {
			p := bytes.Repeat([]byte{0}, 256<<10)
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				s := make()
				s.Limit = 1 << 30
				body, err := New(s)
				if err != nil {
					b.Fatal(err)
				}
				for {
					if _, err = body.Read(p); err != nil {
						break
					}
				}
				if !errors.Is(err, io.EOF) {
					b.Fatal(err)
				}
			}
		})
	}
	hash := sha256.Sum256(body)
	crc := value(checksum.CRC64NVME, body)
	wire := chunk.Encode(body, 64<<10, nil, chunk.Trailer{Name: checksum.CRC64NVME.Header(), Value: crc})
	bench("md5", func() Source { return plain(body) })
	bench("md5+crc64nvme", func() Source { return plain(body, checksum.CRC64NVME.Header(), crc) })
	bench("md5+sha256", func() Source {
		s := plain(body)
		s.Identity.Payload, s.Identity.PayloadSHA256 = sigv4.PayloadHash, hash
		return s
	})
	bench("chunked+trailer", func() Source {
		s := plain(wire, "x-amz-trailer", checksum.CRC64NVME.Header(), "x-amz-decoded-content-length", strconv.Itoa(len(body)))
		s.Identity.Payload = sigv4.PayloadStreamUnsignedTrailer
		return s
	})
}
