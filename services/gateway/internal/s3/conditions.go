package s3

import (
	"strconv"
	"strings"

	"hangar/services/gateway/internal/objects"
)

// readConditions are those of a GET or HEAD.
func (c *call) readConditions() objects.ReadConditions {
	return objects.ReadConditions{
		IfMatch:           c.header("If-Match"),
		IfNoneMatch:       c.header("If-None-Match"),
		IfModifiedSince:   httpTime(c.header("If-Modified-Since")),
		IfUnmodifiedSince: httpTime(c.header("If-Unmodified-Since")),
	}
}

// sourceConditions are those on the source of a copy.
func (c *call) sourceConditions() objects.ReadConditions {
	return objects.ReadConditions{
		IfMatch:           c.header("x-amz-copy-source-if-match"),
		IfNoneMatch:       c.header("x-amz-copy-source-if-none-match"),
		IfModifiedSince:   httpTime(c.header("x-amz-copy-source-if-modified-since")),
		IfUnmodifiedSince: httpTime(c.header("x-amz-copy-source-if-unmodified-since")),
	}
}

// writeConditions are those of a write. Conditions that S3 does not know on
// writes are refused: to ignore one is to overwrite what it protects.
func (c *call) writeConditions() (w objects.WriteConditions, err error) {
	for _, name := range []string{"If-Modified-Since", "If-Unmodified-Since"} {
		if c.header(name) != "" {
			return w, fail(notImplemented, "The header %q is not implemented on writes.", name)
		}
	}
	switch none := strings.TrimSpace(c.header("If-None-Match")); none {
	case "":
	case "*":
		w.IfNoneMatchAny = true
	default:
		return w, fail(notImplemented, "On writes If-None-Match takes * only.")
	}
	match := strings.TrimSpace(c.header("If-Match"))
	if strings.Contains(match, ",") {
		return w, fail(notImplemented, "On writes If-Match takes one ETag only.")
	}
	w.IfMatch = unquote(match)
	if match != "" && (w.IfMatch == "" || w.IfNoneMatchAny) {
		return w, fail(invalidRequest, "The conditions of this write contradict each other or are empty.")
	}
	return w, nil
}

// parseRange reads a Range header. Nil means the whole object: for no header,
// for several ranges, other units and malformed values, which RFC 9110 lets a
// server ignore and S3 does.
func parseRange(header string) *objects.Range {
	spec, ok := strings.CutPrefix(header, "bytes=")
	if !ok || strings.Contains(spec, ",") {
		return nil
	}
	return parseSpan(strings.TrimSpace(spec))
}

// parseSpan reads "first-last", "first-" or "-length".
func parseSpan(spec string) *objects.Range {
	from, to, ok := strings.Cut(spec, "-")
	if !ok {
		return nil
	}
	first, okFirst := offset(from)
	last, okLast := offset(to)
	switch {
	case from == "" && okLast:
		return &objects.Range{First: -1, Last: last}
	case to == "" && okFirst:
		return &objects.Range{First: first, Last: -1}
	case okFirst && okLast && first <= last:
		return &objects.Range{First: first, Last: last}
	}
	return nil
}

// offset reads digits only: no sign, no space.
func offset(s string) (int64, bool) {
	if s == "" || s[0] < '0' || s[0] > '9' {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil
}

// number reads a parameter between 0 and most; absent means otherwise, and
// more than most means most.
func (c *call) number(param string, otherwise, most int) (int, error) {
	text, ok := c.query.lookup(param)
	if !ok || text == "" {
		return otherwise, nil
	}
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil || n < 0 {
		return 0, fail(invalidArgument, "Argument %s must be an integer between 0 and 2147483647.", param)
	}
	return min(int(n), most), nil
}

// maxParts is the highest part number.
const maxParts = 10_000

// partNumber reads the parameter of that name.
func (c *call) partNumber() (int, error) {
	n, ok := offset(c.query.get("partNumber"))
	if !ok || n < 1 || n > maxParts {
		return 0, fail(invalidArgument, "Part number must be an integer between 1 and 10000, inclusive.")
	}
	return int(n), nil
}
