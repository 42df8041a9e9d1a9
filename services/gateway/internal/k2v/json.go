package k2v

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"unicode/utf8"

	"hangar/services/gateway/internal/httpd"
	"hangar/services/gateway/internal/items"
	"hangar/shared/causal"
)

// The documents of K2V, field for field as its specification has them.

type insertRequest struct {
	Partition *string `json:"pk"`
	Sort      *string `json:"sk"`
	Token     *string `json:"ct"`
	Value     blob    `json:"v"`
}

// blob is a value in base64, or null.
type blob struct {
	given bool
	data  []byte // nil for null
}

// UnmarshalJSON implements json.Unmarshaler.
func (b *blob) UnmarshalJSON(raw []byte) (err error) {
	b.given, b.data = true, nil
	if string(raw) == "null" {
		return nil
	}
	var text []byte
	if n := len(raw); n >= 2 && raw[0] == '"' && bytes.IndexByte(raw, '\\') < 0 {
		text = raw[1 : n-1] // nothing is escaped: it is valid, as the decoder has seen
	} else {
		var plain string
		if err := json.Unmarshal(raw, &plain); err != nil {
			return err
		}
		text = []byte(plain)
	}
	if len(text) > base64.StdEncoding.EncodedLen(items.MaxValueBytes) {
		return fail(tooLarge, "A value may have %d bytes.", items.MaxValueBytes)
	}
	if bytes.ContainsAny(text, "\r\n") { // which the decoder would skip
		return fail(invalidBase64, "")
	}
	data := make([]byte, base64.StdEncoding.DecodedLen(len(text)))
	n, err := base64.StdEncoding.Strict().Decode(data, text)
	if err != nil {
		return fail(invalidBase64, "")
	}
	b.data = data[:n]
	return nil
}

type readRequest struct {
	Partition  *string `json:"partitionKey"`
	Prefix     *string `json:"prefix"`
	Start      *string `json:"start"`
	End        *string `json:"end"`
	Limit      *uint64 `json:"limit"`
	Reverse    bool    `json:"reverse"`
	Single     bool    `json:"singleItem"`
	Conflicts  bool    `json:"conflictsOnly"`
	Tombstones bool    `json:"tombstones"`
}

// readEcho repeats a search in its answer.
type readEcho struct {
	Partition  string  `json:"partitionKey"`
	Prefix     *string `json:"prefix"`
	Start      *string `json:"start"`
	End        *string `json:"end"`
	Limit      *uint64 `json:"limit"`
	Reverse    bool    `json:"reverse"`
	Single     bool    `json:"singleItem"`
	Conflicts  bool    `json:"conflictsOnly"`
	Tombstones bool    `json:"tombstones"`
}

type readResponse struct {
	readEcho
	Items     []itemOut `json:"items"`
	More      bool      `json:"more"`
	NextStart *string   `json:"nextStart"`
}

// itemOut is an item in a list.
type itemOut struct {
	Sort   string   `json:"sk"`
	Token  string   `json:"ct"`
	Values [][]byte `json:"v"` // nil is null
}

type deleteRequest struct {
	Partition *string `json:"partitionKey"`
	Prefix    *string `json:"prefix"`
	Start     *string `json:"start"`
	End       *string `json:"end"`
	Single    bool    `json:"singleItem"`

	// Of a search only; some clients send them as they are when not set.
	Limit      *uint64 `json:"limit"`
	Reverse    bool    `json:"reverse"`
	Conflicts  bool    `json:"conflictsOnly"`
	Tombstones bool    `json:"tombstones"`
}

// foreign reports whether fields are set that a deletion does not have.
func (d *deleteRequest) foreign() bool {
	return d.Limit != nil || d.Reverse || d.Conflicts || d.Tombstones
}

type deleteResponse struct {
	Partition string  `json:"partitionKey"`
	Prefix    *string `json:"prefix"`
	Start     *string `json:"start"`
	End       *string `json:"end"`
	Single    bool    `json:"singleItem"`
	Deleted   int     `json:"deletedItems"`
}

type pollRequest struct {
	Prefix  *string `json:"prefix"`
	Start   *string `json:"start"`
	End     *string `json:"end"`
	Timeout *uint64 `json:"timeout"`
	Seen    *string `json:"seenMarker"`
}

type pollResponse struct {
	Items []itemOut `json:"items"`
	Seen  string    `json:"seenMarker"`
}

type indexResponse struct {
	Prefix        *string      `json:"prefix"`
	Start         *string      `json:"start"`
	End           *string      `json:"end"`
	Limit         *uint64      `json:"limit"`
	Reverse       bool         `json:"reverse"`
	PartitionKeys []indexEntry `json:"partitionKeys"`
	More          bool         `json:"more"`
	NextStart     *string      `json:"nextStart"`
}

type indexEntry struct {
	Partition string `json:"pk"`
	Entries   int64  `json:"entries"`
	Conflicts int64  `json:"conflicts"`
	Values    int64  `json:"values"`
	Bytes     int64  `json:"bytes"`
}

// values are those of an item as JSON has them: base64, or null.
func values(in []causal.Value) [][]byte {
	out := make([][]byte, len(in))
	for i, v := range in {
		if !v.Deleted {
			out[i] = append([]byte{}, v.Data...) // never nil
		}
	}
	return out
}

func itemsOut(in []items.Item) []itemOut {
	out := make([]itemOut, len(in))
	for i, item := range in {
		out[i] = itemOut{item.Sort, item.Context.Token(), values(item.Values)}
	}
	return out
}

// encode writes one of the documents above, which all have a JSON form.
func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("k2v: %T has no JSON: %v", v, err))
	}
	return b
}

func jsonResponse(r *httpd.Request, v any) *httpd.Response {
	resp := response(r, http.StatusOK)
	resp.Set(hdrContentType, typeJSON)
	resp.Body = encode(v)
	return resp
}

// decodeList reads a list of documents one by one, at most limit, and demands
// that nothing follows. Only then is the body known to be what was signed:
// nothing may be done before.
func decodeList[T any](body io.Reader, limit int, each func(i int, in *T) error) error {
	d := newDecoder(body)
	t, err := d.Token()
	if err != nil {
		return unreadable(err)
	}
	if t != json.Delim('[') {
		return fail(invalidRequest, "The body must be a JSON list.")
	}
	for i := 0; d.More(); i++ {
		if i == limit {
			return fail(tooLarge, "The list is too long: it may have %d elements.", limit)
		}
		in := new(T)
		if err := d.Decode(in); err != nil {
			return unreadable(err)
		}
		if err := each(i, in); err != nil {
			return err
		}
	}
	if _, err := d.Token(); err != nil {
		return unreadable(err)
	}
	return end(d)
}

func decodeOne(body io.Reader, into any) error {
	d := newDecoder(body)
	if err := d.Decode(into); err != nil {
		return unreadable(err)
	}
	return end(d)
}

// newDecoder is strict: a field that is not known may be one whose meaning is
// ignored.
func newDecoder(body io.Reader) *json.Decoder {
	d := json.NewDecoder(&utf8Reader{src: body})
	d.DisallowUnknownFields()
	return d
}

// end demands the end of the body.
func end(d *json.Decoder) error {
	switch _, err := d.Token(); {
	case err == io.EOF: //nolint:errorlint // only io.EOF itself is a clean end
		return nil
	case err != nil:
		return unreadable(err)
	}
	return fail(invalidRequest, "Something follows the JSON document.")
}

// unreadable words an error of the decoder; what went wrong with the body
// itself stays what it is.
func unreadable(err error) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	var own *apiError
	switch {
	case errors.As(err, &own):
		return err
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fail(invalidRequest, "The JSON ends too early.")
	case errors.As(err, &kind) && kind.Field != "":
		return fail(invalidRequest, "The field %q cannot be a %s.", kind.Field, kind.Value)
	case errors.As(err, &kind):
		return fail(invalidRequest, "The body has a %s where it may not be.", kind.Value)
	case errors.As(err, &syntax):
		return fail(invalidRequest, "The body is not JSON: %v, near byte %d.", err, syntax.Offset)
	case strings.HasPrefix(err.Error(), "json: "):
		return fail(invalidRequest, "%s.", strings.TrimPrefix(err.Error(), "json: "))
	}
	return err
}

// utf8Reader refuses what is not UTF-8, for which the decoder would put
// something else: different keys would become one.
type utf8Reader struct {
	src  io.Reader
	tail [utf8.UTFMax]byte // of the read before: the beginning of a rune
	n    int
	err  error // final
}

func (u *utf8Reader) Read(p []byte) (n int, err error) {
	if u.err == nil {
		n, u.err = u.read(p)
	}
	return n, u.err
}

func (u *utf8Reader) read(p []byte) (int, error) {
	n, err := u.src.Read(p)
	rest := p[:n]
	for u.n > 0 && len(rest) > 0 {
		u.tail[u.n] = rest[0]
		u.n++
		rest = rest[1:]
		if utf8.FullRune(u.tail[:u.n]) {
			if _, size := utf8.DecodeRune(u.tail[:u.n]); size != u.n {
				return 0, fail(invalidUTF8, "")
			}
			u.n = 0
		}
	}
	for len(rest) > 0 {
		if r, size := utf8.DecodeRune(rest); r != utf8.RuneError || size > 1 {
			rest = rest[size:]
			continue
		}
		if utf8.FullRune(rest) {
			return 0, fail(invalidUTF8, "")
		}
		u.n = copy(u.tail[:], rest)
		break
	}
	if err == io.EOF && u.n > 0 { //nolint:errorlint // only io.EOF itself is a clean end
		return 0, fail(invalidUTF8, "")
	}
	return n, err
}
