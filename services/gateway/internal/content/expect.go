package content

import (
	"crypto/md5"
	"encoding/base64"
	"strconv"
	"strings"

	"hangar/services/gateway/internal/checksum"
	"hangar/services/gateway/internal/chunk"
	"hangar/services/gateway/internal/sigv4"
)

// expectations are what a request's head says its body will be.
type expectations struct {
	payload sigv4.Payload
	sha256  [32]byte // for PayloadHash
	chain   *sigv4.Chain
	length  int64  // of the content; -1 if unknown
	md5     []byte // nil for none
	// algorithm is that of the one additional checksum; empty for none.
	algorithm checksum.Algorithm
	checksum  []byte // nil until the trailers came
	// trailer announces the checksum after the body.
	trailer bool
}

func expect(s Source) (x expectations, err error) {
	if err = x.readPayload(s); err != nil {
		return x, err
	}
	if err = x.readLength(s); err != nil {
		return x, err
	}
	if err = x.readMD5(s.Headers); err != nil {
		return x, err
	}
	if s.ForeignChecksum {
		return x, nil
	}
	return x, x.readChecksum(s.Headers)
}

// readPayload takes what the signature says of the body. An anonymous request
// may still say what hash its body has, or send it in unsigned chunks.
func (x *expectations) readPayload(s Source) (err error) {
	if id := s.Identity; id != nil {
		x.payload, x.sha256, x.chain = id.Payload, id.PayloadSHA256, id.Chain
		return nil
	}
	value, n := s.Headers.Get("x-amz-content-sha256")
	if n == 0 {
		x.payload = sigv4.PayloadUnsigned
		return nil
	}
	x.payload, x.sha256, err = sigv4.ParsePayload(value)
	if err == nil && (n > 1 || x.payload.Signed()) {
		err = invalid(ErrInvalidRequest, "x-amz-content-sha256 does not fit an unsigned request")
	}
	return err
}

// readLength finds the length of the content.
func (x *expectations) readLength(s Source) error {
	text, n := s.Headers.Get("x-amz-decoded-content-length")
	switch {
	case s.Reader == nil && s.Length < 0:
		return invalid(ErrMissingContentLength, "You must provide the Content-Length HTTP header.")
	case n == 0 && x.payload.Chunked():
		return invalid(ErrMissingContentLength, "You must provide the x-amz-decoded-content-length HTTP header.")
	case n == 0:
		x.length = max(s.Length, -1)
		return nil
	case n > 1 || !x.payload.Chunked():
		return invalid(ErrInvalidRequest, "x-amz-decoded-content-length does not fit this request")
	}
	length, err := strconv.ParseUint(text, 10, 63)
	if err != nil {
		return invalid(ErrInvalidRequest, "x-amz-decoded-content-length must be a number of bytes")
	}
	x.length = int64(length)
	if s.Length >= 0 && s.Length < x.length {
		return invalid(ErrIncompleteBody, "Content-Length is less than x-amz-decoded-content-length")
	}
	return nil
}

func (x *expectations) readMD5(h sigv4.Headers) error {
	text, n := h.Get("content-md5")
	if n == 0 {
		return nil
	}
	sum, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || n > 1 || len(sum) != md5.Size {
		return invalid(ErrInvalidDigest, "The Content-MD5 you specified is not valid.")
	}
	x.md5 = sum
	return nil
}

// readChecksum finds the additional checksum: at most one, in a header or
// announced as a trailer.
func (x *expectations) readChecksum(h sigv4.Headers) error {
	if err := refuseUnknown(h); err != nil {
		return err
	}
	for _, a := range checksum.Algorithms {
		text, n := h.Get(a.Header())
		if n == 0 {
			continue
		}
		if n > 1 || x.algorithm != "" {
			return moreThanOne()
		}
		value, err := checksum.Decode(a, text)
		if err != nil {
			return invalid(ErrInvalidRequest, "Value for %s header is invalid.", a.Header())
		}
		x.algorithm, x.checksum = a, value
	}
	if err := x.readAnnouncement(h); err != nil {
		return err
	}
	named, n := h.Get("x-amz-sdk-checksum-algorithm")
	if n == 0 {
		return nil
	}
	a, ok := checksum.Parse(named)
	switch {
	case !ok || n > 1, x.algorithm != "" && x.algorithm != a:
		return invalid(ErrInvalidRequest, "Value for x-amz-sdk-checksum-algorithm header is invalid.")
	case x.algorithm == "":
		return invalid(ErrInvalidRequest, "x-amz-sdk-checksum-algorithm specified, but no corresponding "+
			"x-amz-checksum-* or x-amz-trailer headers were found.")
	}
	return nil
}

// refuseUnknown refuses checksums that S3 may know and Hangar does not: a
// client that sends one must not believe that it was checked.
func refuseUnknown(h sigv4.Headers) error {
	for i := range h {
		name := strings.ToLower(h[i].Name)
		if !strings.HasPrefix(name, "x-amz-checksum-") {
			continue
		}
		switch name {
		case "x-amz-checksum-algorithm", "x-amz-checksum-type", "x-amz-checksum-mode":
			continue // not values
		}
		if _, ok := checksum.FromHeader(name); !ok {
			return invalid(ErrInvalidRequest, "The checksum header %.64s is not supported; use one of CRC32, CRC32C, "+
				"CRC64NVME, SHA1 and SHA256.", name)
		}
	}
	return nil
}

// readAnnouncement reads x-amz-trailer.
func (x *expectations) readAnnouncement(h sigv4.Headers) error {
	names, n := h.Get("x-amz-trailer")
	if n == 0 {
		return nil
	}
	if n > 1 || strings.Contains(names, ",") || x.algorithm != "" {
		return moreThanOne()
	}
	a, ok := checksum.FromHeader(strings.Trim(names, " \t"))
	if !ok {
		return invalid(ErrInvalidRequest, "The value specified in the x-amz-trailer header is not supported")
	}
	if !x.payload.Trailer() {
		return invalid(ErrInvalidRequest, "x-amz-trailer needs a body whose x-amz-content-sha256 ends in -TRAILER")
	}
	x.algorithm, x.trailer = a, true
	return nil
}

// takeTrailers takes the checksum out of the trailers that came: the announced
// one and no other.
func (x *expectations) takeTrailers(trailers []chunk.Trailer) error {
	for _, t := range trailers {
		if !x.trailer || t.Name != x.algorithm.Header() {
			return invalid(ErrMalformedTrailer, "a trailer came that x-amz-trailer did not announce")
		}
		value, err := checksum.Decode(x.algorithm, t.Value)
		if err != nil {
			return invalid(ErrInvalidRequest, "Value for %s trailing header is invalid.", t.Name)
		}
		x.checksum = value
	}
	if x.trailer && x.checksum == nil {
		return invalid(ErrMalformedTrailer, "the trailer that x-amz-trailer announced did not come")
	}
	return nil
}

func moreThanOne() error {
	return invalid(ErrInvalidRequest, "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.")
}
