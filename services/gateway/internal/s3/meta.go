package s3

import (
	"mime"
	"net/http"
	"strings"
	"unicode/utf8"

	"hangar/services/gateway/internal/httpd"
	"hangar/services/gateway/internal/objects"
)

// maxMetaBytes bounds user metadata: names and values together.
const maxMetaBytes = 2 << 10

// defaultType is what S3 says of an object whose type nobody named.
const defaultType = "binary/octet-stream"

// storageClasses that are stored and told again. Those that mean "restore it
// before you read it" are not among them: clients would skip such objects.
var storageClasses = map[string]bool{
	"STANDARD": true, "REDUCED_REDUNDANCY": true, "STANDARD_IA": true,
	"ONEZONE_IA": true, "INTELLIGENT_TIERING": true, "GLACIER_IR": true,
}

// metadata reads what a request says about the object it creates.
func (c *call) metadata() (m objects.Metadata, err error) {
	m = objects.Metadata{
		ContentType:        c.header("Content-Type"),
		CacheControl:       c.header("Cache-Control"),
		ContentDisposition: c.header("Content-Disposition"),
		ContentEncoding:    withoutChunked(c.header("Content-Encoding")),
		ContentLanguage:    c.header("Content-Language"),
		Expires:            c.header("Expires"),
		WebsiteRedirect:    c.header(hdrRedirect),
	}
	if r := m.WebsiteRedirect; r != "" && !strings.HasPrefix(r, "/") &&
		!strings.HasPrefix(r, "http://") && !strings.HasPrefix(r, "https://") {
		return m, fail(invalidArgument, "The website redirect location must begin with 'http://', 'https://' or '/'.")
	}
	if m.StorageClass, err = c.storageClass(); err != nil {
		return m, err
	}
	m.User, err = c.userMetadata()
	return m, err
}

func (c *call) storageClass() (string, error) {
	switch class := c.header(hdrStorageClass); {
	case class == "" || class == "STANDARD":
		return "", nil
	case class == "GLACIER" || class == "DEEP_ARCHIVE":
		return "", fail(notImplemented, "The storage class %s is not implemented.", class)
	case !storageClasses[class]:
		return "", fail(invalidStorageClass, "")
	default:
		return class, nil
	}
}

// withoutChunked takes the framing of the body off a Content-Encoding: it is no
// property of the object.
func withoutChunked(encoding string) string {
	if !strings.Contains(encoding, "aws-chunked") {
		return encoding
	}
	var rest []string
	for e := range strings.SplitSeq(encoding, ",") {
		if e = strings.TrimSpace(e); e != "" && e != "aws-chunked" {
			rest = append(rest, e)
		}
	}
	return strings.Join(rest, ",")
}

// userMetadata collects the x-amz-meta headers, names in lower case. Values may
// be raw UTF-8 or encoded by RFC 2047. One that is not UTF-8 is read as Latin-1,
// the old default of HTTP.
func (c *call) userMetadata() (map[string]string, error) {
	var user map[string]string
	total := 0
	for i := range c.headers {
		name := strings.ToLower(c.headers[i].Name)
		short, ok := strings.CutPrefix(name, metaPrefix)
		if !ok {
			continue
		}
		if short == "" || !visible(short) || strings.ContainsAny(short, " :") {
			return nil, fail(invalidArgument, "The metadata name %q is not valid.", name)
		}
		text := decodeText(c.headers[i].Value)
		if user == nil {
			user = make(map[string]string)
		}
		if before, ok := user[short]; ok {
			text = before + "," + text
			total -= len(short) + len(before)
		}
		user[short] = text
		if total += len(short) + len(text); total > maxMetaBytes {
			return nil, fail(metadataTooLarge, "")
		}
	}
	return user, nil
}

func decodeText(v string) string {
	if strings.Contains(v, "=?") {
		var d mime.WordDecoder
		if decoded, err := d.DecodeHeader(v); err == nil {
			v = decoded
		}
	}
	if utf8.ValidString(v) {
		return v
	}
	latin := make([]rune, len(v))
	for i := range len(v) {
		latin[i] = rune(v[i])
	}
	return string(latin)
}

// encodeText makes v fit for a header field, by RFC 2047 where it must.
func encodeText(v string) string {
	if visible(v) {
		return v
	}
	return mime.BEncoding.Encode("UTF-8", v)
}

// describeObject puts what is known of an object into the headers of a GET or
// HEAD answer.
func describeObject(resp *httpd.Response, info *objects.Info) {
	m := &info.Metadata
	describeState(resp, info)
	resp.Set(hdrContentType, orDefault(m.ContentType, defaultType))
	resp.Set("Accept-Ranges", "bytes")
	resp.Set("Cache-Control", m.CacheControl)
	resp.Set("Content-Disposition", m.ContentDisposition)
	resp.Set("Content-Encoding", m.ContentEncoding)
	resp.Set("Content-Language", m.ContentLanguage)
	resp.Set("Expires", m.Expires)
	resp.Set(hdrRedirect, m.WebsiteRedirect)
	resp.Set(hdrStorageClass, m.StorageClass)
	for name, v := range m.User {
		resp.Header = append(resp.Header, httpd.Field{Name: metaPrefix + name, Value: encodeText(v)})
	}
}

// describeState says which state of the object an answer is about; 304 and 412
// carry it too.
func describeState(resp *httpd.Response, info *objects.Info) {
	if info.ETag != "" {
		resp.Set(hdrETag, quote(info.ETag))
	}
	if !info.Modified.IsZero() {
		resp.Set(hdrLastModified, info.Modified.UTC().Format(http.TimeFormat))
	}
}

func orDefault(v, otherwise string) string {
	if v == "" {
		return otherwise
	}
	return v
}

func quote(etag string) string { return `"` + etag + `"` }

func unquote(etag string) string {
	etag = strings.TrimSpace(etag)
	if len(etag) >= 2 && etag[0] == '"' && etag[len(etag)-1] == '"' {
		return etag[1 : len(etag)-1]
	}
	return etag
}
