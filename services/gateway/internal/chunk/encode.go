package chunk

import (
	"crypto/sha256"
	"slices"
	"strconv"
	"strings"

	"hangar/services/gateway/internal/sigv4"
)

// Encode frames body as a client does, in chunks of size bytes, signed where
// there is a chain. Trailers are signed too then. Tests and benchmarks use it.
func Encode(body []byte, size int, chain *sigv4.Chain, trailers ...Trailer) []byte {
	var b []byte
	for {
		data := body[:min(size, len(body))]
		body = body[len(data):]
		b = strconv.AppendInt(b, int64(len(data)), 16)
		if chain != nil {
			b = append(b, signatureField...)
			b = append(b, chain.Chunk(sha256.Sum256(data)).String()...)
		}
		b = append(b, "\r\n"...)
		if len(data) == 0 {
			break
		}
		b = append(b, data...)
		b = append(b, "\r\n"...)
	}
	for _, t := range trailers {
		b = append(b, t.Name+":"+t.Value+"\r\n"...)
	}
	if chain != nil && len(trailers) > 0 {
		b = append(b, trailerSignature+":"+chain.Trailer(hashTrailers(trailers)).String()+"\r\n"...)
	}
	return append(b, "\r\n"...)
}

// hashTrailers hashes trailers in the form that is signed.
func hashTrailers(trailers []Trailer) [sha256.Size]byte {
	sorted := slices.Clone(trailers)
	slices.SortFunc(sorted, func(a, b Trailer) int { return strings.Compare(a.Name, b.Name) })
	var b []byte
	for _, t := range sorted {
		b = append(b, t.Name+":"+t.Value+"\n"...)
	}
	return sha256.Sum256(b)
}
