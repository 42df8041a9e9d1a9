package sigv4

import (
	"bytes"
	"crypto/sha256"
	"testing"
	"time"
)

// The examples that AWS publishes with their signatures:
// https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
// …/sigv4-query-string-auth.html, …/sigv4-streaming.html and
// …/sigv4-streaming-trailers.html

const (
	exampleKey    = "AKIAIOSFODNN7EXAMPLE"
	exampleSecret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
	exampleStamp  = "20130524T000000Z"
	exampleScope  = exampleKey + "/20130524/us-east-1/s3/aws4_request"
	exampleHost   = "examplebucket.s3.amazonaws.com"
)

var exampleTime = time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC)

func exampleVerifier() *Verifier {
	return newVerifier("us-east-1", exampleTime, map[string]string{exampleKey: exampleSecret})
}

func exampleRequest(method, path, query, host, payload, signed, signature string, headers ...Header) *Request {
	return &Request{Method: method, RawPath: path, RawQuery: query, Host: host, Headers: append(Headers{
		{"Host", host},
		{"X-Amz-Date", exampleStamp},
		{"X-Amz-Content-Sha256", payload},
		{"Authorization", "AWS4-HMAC-SHA256 Credential=" + exampleScope + ",SignedHeaders=" + signed +
			",Signature=" + signature},
	}, headers...)}
}

func TestPublishedHeaderExamples(t *testing.T) {
	const hashed = "host;x-amz-content-sha256;x-amz-date"
	for name, r := range map[string]*Request{
		"get with range": exampleRequest("GET", "/test.txt", "", exampleHost, emptySHA256,
			"host;range;x-amz-content-sha256;x-amz-date",
			"f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
			Header{"Range", "bytes=0-9"}),
		"put": exampleRequest("PUT", "/test%24file.text", "", exampleHost,
			"44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
			"date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
			"98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
			Header{"Date", "Fri, 24 May 2013 00:00:00 GMT"}, Header{"x-amz-storage-class", "REDUCED_REDUNDANCY"}),
		"put sent unescaped": exampleRequest("PUT", "/test$file.text", "", exampleHost,
			"44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
			"date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
			"98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
			Header{"Date", "Fri, 24 May 2013 00:00:00 GMT"}, Header{"x-amz-storage-class", "REDUCED_REDUNDANCY"}),
		"get lifecycle": exampleRequest("GET", "/", "lifecycle", exampleHost, emptySHA256, hashed,
			"fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
		"list": exampleRequest("GET", "/", "max-keys=2&prefix=J", exampleHost, emptySHA256, hashed,
			"34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
		"list in another order": exampleRequest("GET", "", "prefix=%4a&&max-keys=2", exampleHost, emptySHA256, hashed,
			"34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
	} {
		id, err := exampleVerifier().Verify(r)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if id.KeyID != exampleKey || id.Presigned || id.Payload != PayloadHash || !id.Date.Equal(exampleTime) {
			t.Errorf("%s: identity %+v", name, id)
		}
	}
}

func TestPublishedPresignedExample(t *testing.T) {
	r := &Request{Method: "GET", RawPath: "/test.txt", Host: exampleHost, RawQuery: "X-Amz-Algorithm=AWS4-HMAC-SHA256" +
		"&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request" +
		"&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host" +
		"&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"}
	id, err := exampleVerifier().Verify(r)
	if err != nil {
		t.Fatal(err)
	}
	if !id.Presigned || id.Payload != PayloadUnsigned || id.Chain != nil {
		t.Errorf("identity %+v", id)
	}
}

func TestPublishedStreamingExample(t *testing.T) {
	r := exampleRequest("PUT", "/examplebucket/chunkObject.txt", "", "s3.amazonaws.com", StreamingSignedPayload,
		"content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;"+
			"x-amz-decoded-content-length;x-amz-storage-class",
		"4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
		Header{"Content-Encoding", "aws-chunked"}, Header{"Content-Length", "66824"},
		Header{"x-amz-decoded-content-length", "66560"}, Header{"x-amz-storage-class", "REDUCED_REDUNDANCY"})
	id, err := exampleVerifier().Verify(r)
	if err != nil {
		t.Fatal(err)
	}
	if id.Payload != PayloadStreamSigned {
		t.Errorf("payload %v", id.Payload)
	}
	checkChain(t, id.Chain,
		"ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
		"0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
		"b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9")
}

func TestPublishedTrailerExample(t *testing.T) {
	r := exampleRequest("PUT", "/examplebucket/chunkObject.txt", "", "s3.amazonaws.com", StreamingSignedPayloadTrailer,
		"content-encoding;host;x-amz-content-sha256;x-amz-date;"+
			"x-amz-decoded-content-length;x-amz-storage-class;x-amz-trailer",
		"106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e",
		Header{"Content-Encoding", "aws-chunked"}, Header{"Content-Length", "66824"},
		Header{"x-amz-decoded-content-length", "66560"}, Header{"x-amz-storage-class", "REDUCED_REDUNDANCY"},
		Header{"x-amz-trailer", "x-amz-checksum-crc32c"})
	id, err := exampleVerifier().Verify(r)
	if err != nil {
		t.Fatal(err)
	}
	checkChain(t, id.Chain,
		"b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
		"1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
		"2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992")
	got := id.Chain.Trailer(sha256.Sum256([]byte("x-amz-checksum-crc32c:sOO8/Q==\n")))
	if want := "d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435"; got.String() != want {
		t.Errorf("trailer: signature %s, want %s", got, want)
	}
}

// checkChain runs through the published example's three chunks.
func checkChain(t *testing.T, c *Chain, want ...string) {
	t.Helper()
	for i, size := range []int{64 << 10, 1 << 10, 0} {
		got := c.Chunk(sha256.Sum256(bytes.Repeat([]byte("a"), size)))
		if got.String() != want[i] {
			t.Errorf("chunk %d: signature %s, want %s", i, got, want[i])
		}
	}
}
