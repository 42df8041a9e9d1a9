package chunk

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"hangar/services/gateway/internal/sigv4"
	"hangar/shared/fault"
)

var (
	testTime = time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC)
	signer   = sigv4.Signer{KeyID: "AKIAIOSFODNN7EXAMPLE", Secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
		Region: "us-east-1", Service: "s3"}
	crc = Trailer{"x-amz-checksum-crc32c", "sOO8/Q=="}
)

// chain starts a chain as AWS's published example for this payload does.
func chain(payload string) *sigv4.Chain {
	r := &sigv4.Request{Method: "PUT", RawPath: "/examplebucket/chunkObject.txt", Host: "s3.amazonaws.com",
		Headers: sigv4.Headers{{Name: "content-encoding", Value: "aws-chunked"},
			{Name: "x-amz-decoded-content-length", Value: "66560"}, {Name: "x-amz-storage-class", Value: "REDUCED_REDUNDANCY"}}}
	if payload == sigv4.StreamingSignedPayloadTrailer {
		r.Headers = append(r.Headers, sigv4.Header{Name: "x-amz-trailer", Value: crc.Name})
	} else {
		r.Headers = append(r.Headers, sigv4.Header{Name: "content-length", Value: "66824"})
	}
	return signer.Sign(r, payload, testTime)
}

func published(signatures ...string) string {
	var b strings.Builder
	for i, size := range []string{"10000", "400", "0"} {
		b.WriteString(size + ";chunk-signature=" + signatures[i] + "\r\n")
		if n := []int{64 << 10, 1 << 10, 0}[i]; n > 0 {
			b.WriteString(strings.Repeat("a", n) + "\r\n")
		}
	}
	return b.String()
}

func TestPublishedExamples(t *testing.T) {
	plain := published("ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
		"0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
		"b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9")
	trailed := published("b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
		"1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
		"2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992")
	signature := "x-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n\r\n"
	for name, tc := range map[string]struct {
		payload, body string
		trailers      []Trailer
	}{
		"signed":         {sigv4.StreamingSignedPayload, plain + "\r\n", nil},
		"trailer":        {sigv4.StreamingSignedPayloadTrailer, trailed + "x-amz-checksum-crc32c:sOO8/Q==\r\n" + signature, []Trailer{crc}},
		"trailer, LF":    {sigv4.StreamingSignedPayloadTrailer, trailed + "x-amz-checksum-crc32c:sOO8/Q==\n\r\n" + signature, []Trailer{crc}},
		"trailer, upper": {sigv4.StreamingSignedPayloadTrailer, trailed + "X-Amz-Checksum-Crc32c: sOO8/Q== \r\n" + signature, []Trailer{crc}},
	} {
		r := NewReader(strings.NewReader(tc.body), 66560, chain(tc.payload), len(tc.trailers) > 0)
		data, err := io.ReadAll(r)
		if err != nil || string(data) != strings.Repeat("a", 66560) {
			t.Errorf("%s: %d bytes, %v", name, len(data), err)
		}
		if len(r.Trailers()) != len(tc.trailers) || len(tc.trailers) > 0 && r.Trailers()[0] != tc.trailers[0] {
			t.Errorf("%s: trailers %v", name, r.Trailers())
		}
	}
}

// TestMinioTrailer reads the end of a body as minio-go writes it.
func TestMinioTrailer(t *testing.T) {
	r := forms[2].reader(strings.NewReader("3\r\nabc\r\n0\r\nx-amz-checksum-crc32c:sOO8/Q==\n\r\n\r\n"), 3)
	data, err := io.ReadAll(r)
	if err != nil || string(data) != "abc" || len(r.Trailers()) != 1 || r.Trailers()[0] != crc {
		t.Errorf("%q, %v, %v", data, r.Trailers(), err)
	}
}

// form is one of the three ways to frame a body.
type form struct {
	name    string
	payload string
	trailer bool
}

var forms = []form{
	{"signed", sigv4.StreamingSignedPayload, false},
	{"signed trailer", sigv4.StreamingSignedPayloadTrailer, true},
	{"unsigned trailer", "", true},
}

func (f form) chain() *sigv4.Chain {
	if f.payload == "" {
		return nil
	}
	return chain(f.payload)
}

func (f form) encode(body []byte, size int) []byte {
	if f.trailer {
		return Encode(body, size, f.chain(), crc)
	}
	return Encode(body, size, f.chain())
}

func (f form) reader(src io.Reader, length int) *Reader {
	return NewReader(src, int64(length), f.chain(), f.trailer)
}

func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * 7)
	}
	return b
}

func TestRoundTrip(t *testing.T) {
	for _, f := range forms {
		for _, n := range []int{0, 1, 99, 100, 101, 5000, 70_000} {
			body := pattern(n)
			for _, size := range []int{1, 100, 4096, 65_536} {
				if n > 1000 && size == 1 {
					continue
				}
				wire := f.encode(body, size)
				for name, src := range map[string]io.Reader{
					"whole":    bytes.NewReader(wire),
					"bytes":    iotest.OneByteReader(bytes.NewReader(wire)),
					"halves":   iotest.HalfReader(bytes.NewReader(wire)),
					"data+EOF": iotest.DataErrReader(bytes.NewReader(wire)),
				} {
					r := f.reader(src, n)
					data, err := io.ReadAll(r)
					if err != nil || !bytes.Equal(data, body) {
						t.Fatalf("%s, %d bytes in %d, %s: %d bytes, %v", f.name, n, size, name, len(data), err)
					}
					if n, err := r.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
						t.Fatalf("%s: after the end: %d, %v", f.name, n, err)
					}
				}
			}
		}
	}
}

func TestTruncation(t *testing.T) {
	body := pattern(300)
	for _, f := range forms {
		wire := f.encode(body, 100)
		for n := range len(wire) {
			_, err := io.ReadAll(f.reader(bytes.NewReader(wire[:n]), len(body)))
			if !errors.Is(err, ErrIncomplete) || !fault.Is(err, fault.Invalid) {
				t.Fatalf("%s cut at %d of %d: %v", f.name, n, len(wire), err)
			}
		}
	}
}

// TestTampering flips every bit of a signed body; none may pass. What may
// change is the case of a trailer's name.
func TestTampering(t *testing.T) {
	body := pattern(300)
	for _, f := range forms[:2] {
		wire := f.encode(body, 100)
		for at := range wire {
			for bit := range 8 {
				changed := bytes.Clone(wire)
				changed[at] ^= 1 << bit
				if inTrailerName(wire, at) && bytes.EqualFold(changed, wire) {
					continue
				}
				data, err := io.ReadAll(f.reader(bytes.NewReader(changed), len(body)))
				if err == nil {
					t.Errorf("%s: byte %d, %q changed to %q passed, %d bytes", f.name, at, wire[at], changed[at], len(data))
				}
			}
		}
	}
}

func inTrailerName(wire []byte, at int) bool {
	for _, name := range []string{crc.Name, trailerSignature} {
		if i := bytes.Index(wire, []byte(name)); i >= 0 && i <= at && at < i+len(name) {
			return true
		}
	}
	return false
}

func TestLastBytesOfABadChunkStay(t *testing.T) {
	body := pattern(100)
	wire := forms[0].encode(body, 100)
	at := bytes.Index(wire, []byte("\r\n")) + 2
	wire[at] ^= 1
	r := forms[0].reader(iotest.OneByteReader(bytes.NewReader(wire)), 100)
	data, err := io.ReadAll(r)
	if !errors.Is(err, sigv4.ErrSignatureDoesNotMatch) || !fault.Is(err, fault.Denied) || len(data) >= 100 {
		t.Errorf("%d bytes, %v", len(data), err)
	}
	if _, again := r.Read(make([]byte, 1)); !errors.Is(again, err) {
		t.Errorf("then %v", again)
	}
}

func TestMalformed(t *testing.T) {
	signature := ";chunk-signature=" + strings.Repeat("0", 64)
	for _, tc := range []struct {
		name, wire string
		form       form
		want       error
	}{
		{"too much data", "4\r\nabcd\r\n0\r\n\r\n", forms[2], ErrMalformed},
		{"too little data", "2\r\nab\r\n0\r\n\r\n", forms[2], ErrIncomplete},
		{"no size", "\r\nabc\r\n0\r\n\r\n", forms[2], ErrMalformed},
		{"not a number", "3x\r\nabc\r\n0\r\n\r\n", forms[2], ErrMalformed},
		{"sign", "+3\r\nabc\r\n0\r\n\r\n", forms[2], ErrMalformed},
		{"space", "3 \r\nabc\r\n0\r\n\r\n", forms[2], ErrMalformed},
		{"prefix", "0x3\r\nabc\r\n0\r\n\r\n", forms[2], ErrMalformed},
		{"negative by overflow", "ffffffffffffffff\r\nabc\r\n0\r\n\r\n", forms[2], ErrMalformed},
		{"bare LF", "3\nabc\r\n0\r\n\r\n", forms[2], ErrMalformed},
		{"no line end", "3\r\nabcd\r\n0\r\n\r\n", forms[2], ErrMalformed},
		{"long line", strings.Repeat("0", 5000) + "3\r\nabc\r\n0\r\n\r\n", forms[2], ErrMalformed},
		{"endless line", strings.Repeat("0", 1<<20), forms[2], ErrMalformed},
		{"extension", "3;a=b\r\nabc\r\n0\r\n\r\n", forms[2], ErrMalformed},
		{"signed though unsigned", "3" + signature + "\r\nabc\r\n", forms[2], ErrMalformed},
		{"unsigned though signed", "3\r\nabc\r\n0\r\n\r\n", forms[0], ErrMalformed},
		{"short signature", "3" + signature[:60] + "\r\nabc\r\n0\r\n\r\n", forms[0], ErrMalformed},
		{"long signature", "3" + signature + "0\r\nabc\r\n0\r\n\r\n", forms[0], ErrMalformed},
		{"something behind", "3\r\nabc\r\n0\r\n\r\nGET / HTTP/1.1\r\n", forms[2], ErrMalformed},
		{"a second end", "3\r\nabc\r\n0\r\n\r\nx0\r\n\r\n", forms[2], ErrMalformed},
		{"trailer without colon", "3\r\nabc\r\n0\r\nabc\r\n\r\n", forms[2], ErrTrailer},
		{"trailer without name", "3\r\nabc\r\n0\r\n:abc\r\n\r\n", forms[2], ErrTrailer},
		{"trailer twice", "3\r\nabc\r\n0\r\na:b\r\nA:c\r\n\r\n", forms[2], ErrTrailer},
		{"trailer too long", "3\r\nabc\r\n0\r\na:" + strings.Repeat("b", 2000) + "\r\n\r\n", forms[2], ErrTrailer},
		{"too many trailers", "3\r\nabc\r\n0\r\na:\r\nb:\r\nc:\r\nd:\r\ne:\r\nf:\r\ng:\r\nh:\r\ni:\r\n\r\n", forms[2], ErrTrailer},
		{"trailer signature unsigned", "3\r\nabc\r\n0\r\nx-amz-trailer-signature:00\r\n\r\n", forms[2], ErrTrailer},
		{"trailer in two lines", "3\r\nabc\r\n0\r\na:b\r\n\r\n\r\n", forms[2], ErrMalformed},
		{"trailers without end", "3\r\nabc\r\n0\r\na:b\n\r\n", forms[2], ErrIncomplete},
		{"trailer not allowed", string(Encode([]byte("abc"), 3, chain(forms[0].payload), crc)), forms[0], ErrMalformed},
		{"trailer signature missing", string(Encode([]byte("abc"), 3, chain(forms[1].payload))), forms[1], ErrTrailer},
	} {
		_, err := io.ReadAll(tc.form.reader(strings.NewReader(tc.wire), 3))
		if !errors.Is(err, tc.want) || !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: got %v, want %v", tc.name, err, tc.want)
		}
	}
}

func TestSourceErrorPassesOn(t *testing.T) {
	broken := errors.New("broken")
	wire := forms[2].encode(pattern(100), 100)
	for n := range len(wire) {
		src := io.MultiReader(bytes.NewReader(wire[:n]), iotest.ErrReader(broken))
		if _, err := io.ReadAll(forms[2].reader(src, 100)); !errors.Is(err, broken) {
			t.Fatalf("broken at %d: %v", n, err)
		}
	}
}

// ragged reads in random pieces.
type ragged struct {
	src io.Reader
	rnd *rand.Rand
}

func (r ragged) Read(p []byte) (int, error) {
	return r.src.Read(p[:1+r.rnd.IntN(len(p))])
}

// FuzzReader holds reading in random pieces against reading at once, and both
// against what may be believed of any input.
func FuzzReader(f *testing.F) {
	for i, form := range forms {
		f.Add(form.encode(pattern(300), 100), uint16(300), uint8(i), uint64(1))
	}
	f.Add([]byte("3\r\nabc\r\n0\r\na:b\r\n\r\n"), uint16(3), uint8(2), uint64(1))
	f.Fuzz(func(t *testing.T, wire []byte, length uint16, which uint8, seed uint64) {
		form := forms[int(which)%len(forms)]
		whole := form.reader(bytes.NewReader(wire), int(length))
		want, wantErr := io.ReadAll(whole)
		if wantErr == nil && len(want) != int(length) {
			t.Fatalf("clean end after %d of %d bytes", len(want), length)
		}
		rnd := rand.New(rand.NewPCG(seed, 0))
		pieces := form.reader(ragged{bytes.NewReader(wire), rnd}, int(length))
		got, gotErr := io.ReadAll(ragged{pieces, rnd})
		if (gotErr == nil) != (wantErr == nil) || gotErr != nil && gotErr.Error() != wantErr.Error() {
			t.Fatalf("in pieces %v, at once %v", gotErr, wantErr)
		}
		if gotErr == nil && (!bytes.Equal(got, want) || len(whole.Trailers()) != len(pieces.Trailers())) {
			t.Fatal("the content differs")
		}
	})
}

func BenchmarkReader(b *testing.B) {
	body := pattern(8 << 20)
	for _, f := range forms {
		b.Run(strings.ReplaceAll(f.name, " ", "-"), func(b *testing.B) {
			wire := f.encode(body, 64<<10)
			p := make([]byte, 256<<10)
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				r := f.reader(bytes.NewReader(wire), len(body))
				for {
					if _, err := r.Read(p); errors.Is(err, io.EOF) {
						break
					} else if err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}
