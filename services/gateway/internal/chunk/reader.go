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
	line, err := r.line(maxHeaderBytes, ErrMalformed)
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
	switch _, err := r.src.ReadByte(); err {
	case io.EOF:
		return io.EOF
	case nil:
		return malformed("there is something after the end of the chunks")
	default:
		return err
	}
}

// readTrailers reads up to and including the empty line at the end. Where the
// trailers are signed, some clients (after AWS's own example) end them with
// "\n\r\n" before the signature's line: an empty line that means nothing.
func (r *Reader) readTrailers() error {
	signed, skipped := false, false
	for {
		line, err := r.line(maxLineBytes, ErrTrailer)
		if err != nil {
			return err
		}
		switch {
		case len(line) == 0 && (r.chain == nil || signed):
			return nil
		case len(line) == 0 && !skipped && len(r.trailers) > 0:
			skipped = true
			continue
		case len(line) == 0:
			return badTrailer("the trailers must end with " + trailerSignature)
		case signed:
			return badTrailer("nothing may follow " + trailerSignature)
		}
		name, value, ok := strings.Cut(string(line), ":")
		name = strings.ToLower(name)
		switch {
		case !ok || name == "" || strings.ContainsAny(name, " \t"):
			return badTrailer("a trailer must be \"name:value\"")
		case name == trailerSignature && r.chain != nil:
			if err := r.checkTrailers(value); err != nil {
				return err
			}
			signed = true
			continue
		case skipped, name == trailerSignature, len(r.trailers) == maxTrailers, r.has(name):
			return badTrailer("unexpected or repeated trailer")
		}
		r.trailers = append(r.trailers, Trailer{name, strings.Trim(value, " ")})
	}
}

func (r *Reader) has(name string) bool {
	for _, t := range r.trailers {
		if t.Name == name {
			return true
		}
	}
	return false
}

func (r *Reader) checkTrailers(claimed string) error {
	want := r.chain.Trailer(hashTrailers(r.trailers))
	if !want.Equal([]byte(strings.Trim(claimed, " "))) {
		return badSignature("the trailers")
	}
	return nil
}

// blank reads the line end that closes a chunk or the body.
func (r *Reader) blank() error {
	line, err := r.line(0, ErrMalformed)
	if err == nil && len(line) != 0 {
		err = malformed("a chunk must end with a line end")
	}
	return err
}

// line reads a line of at most limit bytes and returns it without its end, as
// a slice of the buffer. Framing lines end with CR LF; in trailers (reported
// as ErrTrailer when bad) LF alone will do.
func (r *Reader) line(limit int, kind error) ([]byte, error) {
	line, err := r.src.ReadSlice('\n')
	switch {
	case err == bufio.ErrBufferFull:
		return nil, fault.Wrap(fault.Invalid, kind, "a line of the chunk framing is too long")
	case err != nil:
		return nil, ended(err)
	}
	line = line[:len(line)-1]
	if bytes.HasSuffix(line, []byte{'\r'}) {
		line = line[:len(line)-1]
	} else if kind != ErrTrailer {
		return nil, malformed("lines of the chunk framing must end with CR LF")
	}
	if len(line) > limit {
		return nil, fault.Wrap(fault.Invalid, kind, "a line of the chunk framing is too long")
	}
	return line, nil
}

// ended makes the end of the source, which may only come after the last
// chunk, the error that it is.
func ended(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
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
