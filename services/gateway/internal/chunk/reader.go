// Package chunk reads and writes the aws-chunked framing of S3 request bodies:
//
//	size[;chunk-signature=sig]\r\n data \r\n
//	…
//	0[;chunk-signature=sig]\r\n
//	[name:value\r\n … [x-amz-trailer-signature:sig\r\n]]
//	\r\n
//
// (https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html)
package chunk

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"strconv"
	"strings"

	"hangar/services/gateway/internal/sigv4"
	"hangar/shared/fault"
)

// Why a framed body was refused, wrapped in a *fault.Error of kind Invalid. A
// wrong signature is sigv4.ErrSignatureDoesNotMatch, of kind Denied.
var (
	// ErrIncomplete: the body ended before its last chunk and trailers did, or
	// holds less than it announced (IncompleteBody).
	ErrIncomplete = errors.New("incomplete body")
	// ErrMalformed: not the framing, or more data than announced
	// (InvalidRequest).
	ErrMalformed = errors.New("malformed chunk")
	// ErrTrailer: the trailers cannot be read or lack their signature
	// (MalformedTrailerError).
	ErrTrailer = errors.New("malformed trailer")
)

// Limits of the framing.
const (
	maxHeaderBytes = 16 + len(signatureField) + sigv4.SignatureLen
	maxLineBytes   = 1 << 10
	maxTrailers    = 8
	bufferBytes    = 4 << 10
)

const (
	signatureField   = ";chunk-signature="
	trailerSignature = "x-amz-trailer-signature"
)

// Trailer is a header that follows the body. Name is in lower case.
type Trailer struct{ Name, Value string }

// Reader yields the data of a framed body. A chunk's last bytes are released
// only when its signature held, the rest while it streams by, whatever its
// size; so what was read may be kept only after io.EOF, which comes when the
// last chunk, the announced length, the trailers and the end of the source
// were all right. Errors are final. It belongs to one goroutine.
type Reader struct {
	src   *bufio.Reader
	chain *sigv4.Chain
	hash  hash.Hash // of the chunk's data; nil without chain
	// announced is how much data chunk headers may still promise.
	announced int64
	// left of the chunk under way, and the signature it claims.
	left     int64
	claimed  [sigv4.SignatureLen]byte
	mayTrail bool
	trailers []Trailer
	err      error
}

// NewReader reads src, whose data is length bytes long. With a chain every
// chunk must be signed, and the trailers too; without, none. Trailers may come
// only if mayTrail.
func NewReader(src io.Reader, length int64, chain *sigv4.Chain, mayTrail bool) *Reader {
	r := &Reader{src: bufio.NewReaderSize(src, bufferBytes), chain: chain, announced: length, mayTrail: mayTrail}
	if chain != nil {
		r.hash = sha256.New()
	}
	return r
}

// Trailers that came, without their signature; complete after io.EOF.
func (r *Reader) Trailers() []Trailer { return r.trailers }

// Read implements io.Reader. It returns data of one chunk at a time.
func (r *Reader) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	n, err := r.read(p)
	if err != nil {
		r.err = err
		return 0, err
	}
	return n, nil
}

func (r *Reader) read(p []byte) (int, error) {
	if r.left == 0 {
		if err := r.startChunk(); err != nil {
			return 0, err
		}
		if r.left == 0 {
			return 0, r.finish()
		}
	}
	// A read larger than the buffer goes straight from the source into p.
	n, err := r.src.Read(p[:min(int64(len(p)), r.left)])
	r.left -= int64(n)
	if r.hash != nil {
		r.hash.Write(p[:n])
	}
	if err != nil {
		return 0, ended(err)
	}
	if r.left == 0 {
		if err := r.blank(); err != nil {
			return 0, err
		}
		if err := r.checkChunk(); err != nil {
			return 0, err
		}
	}
	return n, nil
}

// startChunk reads a chunk's header.
func (r *Reader) startChunk() error {
	line, err := r.line(maxHeaderBytes)
	if err != nil {
		return err
	}
	digits := line
	if r.chain != nil {
		at := bytes.Index(line, []byte(signatureField))
		if at < 0 || len(line) != at+len(signatureField)+sigv4.SignatureLen {
			return malformed("a chunk's header must be \"size;chunk-signature=signature\"")
		}
		digits = line[:at]
		copy(r.claimed[:], line[at+len(signatureField):])
		r.hash.Reset()
	}
	size, err := strconv.ParseUint(string(digits), 16, 63)
	if err != nil {
		return malformed("a chunk's size must be a hexadecimal number")
	}
	if int64(size) > r.announced {
		return malformed("the chunks hold more than x-amz-decoded-content-length says")
	}
	r.left = int64(size)
	r.announced -= r.left
	return nil
}

// checkChunk compares the signature of the chunk that just ended.
func (r *Reader) checkChunk() error {
	if r.chain == nil {
		return nil
	}
	want := r.chain.Chunk([sha256.Size]byte(r.hash.Sum(nil)))
	if !want.Equal(r.claimed[:]) {
		return badSignature("a chunk")
	}
	return nil
}

// finish reads what follows the header of the last chunk. It returns io.EOF
// when all of it is right.
func (r *Reader) finish() error {
	if err := r.checkChunk(); err != nil {
		return err
	}
	if r.announced != 0 {
		return fault.Wrap(fault.Invalid, ErrIncomplete,
			"the chunks hold %d bytes less than x-amz-decoded-content-length says", r.announced)
	}
	var err error
	if r.mayTrail {
		err = r.readTrailers()
	} else {
		err = r.blank()
	}
	if err != nil {
		return err
	}
	_, err = r.src.ReadByte()
	if err == nil {
		return malformed("there is something after the end of the chunks")
	}
	return err // io.EOF when all is well
}

// readTrailers reads up to and including the empty line at the end.
func (r *Reader) readTrailers() error {
	signed := false
	for {
		line, err := r.trailerLine()
		if err != nil {
			return err
		}
		switch {
		case line == "" && (r.chain == nil || signed):
			return nil
		case line == "":
			return badTrailer("the trailers must end with " + trailerSignature)
		case signed:
			return badTrailer("nothing may follow " + trailerSignature)
		}
		name, value, ok := strings.Cut(line, ":")
		name, value = strings.ToLower(name), strings.Trim(value, " ")
		switch {
		case !ok || name == "" || strings.ContainsAny(name, " \t"):
			return badTrailer("a trailer must be \"name:value\"")
		case name == trailerSignature && r.chain != nil:
			want := r.chain.Trailer(hashTrailers(r.trailers))
			if !want.Equal([]byte(value)) {
				return badSignature("the trailers")
			}
			signed = true
			continue
		case name == trailerSignature, len(r.trailers) == maxTrailers, r.has(name):
			return badTrailer("unexpected or repeated trailer")
		}
		r.trailers = append(r.trailers, Trailer{name, value})
	}
}

// trailerLine reads a line of the trailers. One that ends with LF alone is
// followed by a CR LF that belongs to it if any does: that is how AWS's own
// description, and minio-go after it, separate the trailers from what follows.
func (r *Reader) trailerLine() (string, error) {
	raw, err := r.rawLine(maxLineBytes, ErrTrailer)
	if err != nil {
		return "", err
	}
	if line, ok := bytes.CutSuffix(raw, []byte{'\r'}); ok {
		return string(line), nil
	}
	line := string(raw) // Peek moves the buffer that raw is part of
	switch next, err := r.src.Peek(2); {
	case err != nil:
		return "", ended(err)
	case string(next) == "\r\n":
		_, err = r.src.Discard(2)
		return line, err
	}
	return line, nil
}

func (r *Reader) has(name string) bool {
	for _, t := range r.trailers {
		if t.Name == name {
			return true
		}
	}
	return false
}

// blank reads the line end that closes a chunk or the body.
func (r *Reader) blank() error {
	line, err := r.line(0)
	if err == nil && len(line) != 0 {
		err = malformed("a chunk must end with a line end")
	}
	return err
}

// line reads a line of the framing of at most limit bytes, without its end.
func (r *Reader) line(limit int) ([]byte, error) {
	raw, err := r.rawLine(limit+1, ErrMalformed)
	if err != nil {
		return nil, err
	}
	line, ok := bytes.CutSuffix(raw, []byte{'\r'})
	if !ok {
		return nil, malformed("lines of the chunk framing must end with CR LF")
	}
	return line, nil
}

// rawLine reads up to LF, which it takes off, as a slice of the buffer. A line
// of more than limit bytes is an error of the given kind.
func (r *Reader) rawLine(limit int, kind error) ([]byte, error) {
	line, err := r.src.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) || err == nil && len(line)-1 > limit {
		return nil, fault.Wrap(fault.Invalid, kind, "a line of the chunk framing is too long")
	}
	if err != nil {
		return nil, ended(err)
	}
	return line[:len(line)-1], nil
}

// ended makes the end of the source, which may only come after the last
// chunk, the error that it is.
func ended(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fault.Wrap(fault.Invalid, ErrIncomplete, "the body ended before its last chunk")
	}
	return err
}

func malformed(msg string) error {
	return fault.Wrap(fault.Invalid, ErrMalformed, "%s", msg)
}

func badTrailer(msg string) error {
	return fault.Wrap(fault.Invalid, ErrTrailer, "%s", msg)
}

func badSignature(of string) error {
	return fault.Wrap(fault.Denied, sigv4.ErrSignatureDoesNotMatch,
		"The signature of %s does not match what we calculated.", of)
}
