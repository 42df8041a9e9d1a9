package s3

import (
	"encoding/base64"
	"strings"
	"unicode/utf8"

	"hangar/services/gateway/internal/httpd"
	"hangar/services/gateway/internal/objects"
	"hangar/shared/object"
)

// maxPage is the most entries of one page of any listing.
const maxPage = 1000

// listing is what both versions of ListObjects have in common.
type listing struct {
	c         *call
	in        objects.ListInput
	urlEncode bool
	owner     bool
	x         *document
}

func (c *call) listing() (l listing, err error) {
	l = listing{c: c, in: objects.ListInput{
		Bucket: c.bucket.ID, Prefix: c.query.get("prefix"), Delimiter: c.query.get("delimiter"),
	}}
	if l.urlEncode, err = c.urlEncoding(); err != nil {
		return l, err
	}
	l.in.Limit, err = c.number("max-keys", maxPage, maxPage)
	return l, err
}

// urlEncoding reads encoding-type.
func (c *call) urlEncoding() (bool, error) {
	switch c.query.get("encoding-type") {
	case "":
		return false, nil
	case "url":
		return true, nil
	}
	return false, fail(invalidArgument, "Invalid Encoding Method specified in Request.")
}

func (a *API) listObjects(c *call) (*httpd.Response, error) {
	l, err := c.listing()
	if err != nil {
		return nil, err
	}
	l.in.After, l.owner = c.query.get("marker"), true
	page, err := a.page(c, l.in)
	if err != nil {
		return nil, err
	}
	l.begin()
	l.x.name("Marker", l.in.After, l.urlEncode)
	if page.More && l.in.Delimiter != "" {
		l.x.name("NextMarker", page.Next, l.urlEncode)
	}
	return l.finish(a, &page), nil
}

func (a *API) listObjectsV2(c *call) (*httpd.Response, error) {
	if t := c.query.get("list-type"); t != "2" {
		return nil, fail(invalidArgument, "Invalid list type %q.", t)
	}
	l, err := c.listing()
	if err != nil {
		return nil, err
	}
	start := c.query.get("start-after")
	token, continued := c.query.lookup("continuation-token")
	l.in.After, l.owner = start, c.query.get("fetch-owner") == "true"
	if continued {
		if l.in.After, err = readToken(token); err != nil {
			return nil, err
		}
	}
	page, err := a.page(c, l.in)
	if err != nil {
		return nil, err
	}
	l.begin()
	if continued {
		l.x.el("ContinuationToken", token)
	}
	if start != "" {
		l.x.name("StartAfter", start, l.urlEncode)
	}
	l.x.int("KeyCount", int64(len(page.Objects)+len(page.Prefixes)))
	if page.More {
		l.x.el("NextContinuationToken", makeToken(page.Next))
	}
	return l.finish(a, &page), nil
}

// page asks the store, which is spared a question whose answer is known.
func (a *API) page(c *call, in objects.ListInput) (objects.Listing, error) {
	if in.Limit == 0 {
		return objects.Listing{}, nil
	}
	return a.Store.List(c.ctx, in)
}

func (l *listing) begin() {
	l.x = pooledXML()
	l.x.root("ListBucketResult")
	l.x.el("Name", l.c.at.bucket)
	l.x.name("Prefix", l.in.Prefix, l.urlEncode)
	if l.in.Delimiter != "" {
		l.x.name("Delimiter", l.in.Delimiter, l.urlEncode)
	}
	l.x.int("MaxKeys", int64(l.in.Limit))
	if l.urlEncode {
		l.x.el("EncodingType", "url")
	}
}

func (l *listing) finish(a *API, page *objects.Listing) *httpd.Response {
	x := l.x
	x.bool("IsTruncated", page.More)
	for i := range page.Objects {
		o := &page.Objects[i]
		x.open("Contents")
		x.name("Key", o.Key, l.urlEncode)
		x.time("LastModified", o.Modified)
		x.etag(o.ETag)
		if o.Checksum.Algorithm != "" {
			x.el("ChecksumAlgorithm", string(o.Checksum.Algorithm))
			x.el("ChecksumType", sumType(o.Checksum))
		}
		x.int("Size", o.Size)
		if l.owner {
			x.person("Owner", a.Owner)
		}
		x.el("StorageClass", orDefault(o.Metadata.StorageClass, "STANDARD"))
		x.close("Contents")
	}
	x.prefixes(page.Prefixes, l.urlEncode)
	x.close("ListBucketResult")
	return x.stream(l.c)
}

// prefixes writes common prefixes.
func (x *document) prefixes(all []string, urlEncode bool) {
	for _, p := range all {
		x.open("CommonPrefixes")
		x.name("Prefix", p, urlEncode)
		x.close("CommonPrefixes")
	}
}

// person writes an owner or initiator.
func (x *document) person(role, id string) {
	x.open(role)
	x.el("ID", id)
	x.el("DisplayName", id)
	x.close(role)
}

// name writes a key or a piece of one, percent-encoded when asked for.
func (x *document) name(element, key string, urlEncode bool) {
	x.open(element)
	if urlEncode {
		x.b = appendURL(x.b, key)
	} else {
		x.text(key)
	}
	x.close(element)
}

// appendURL percent-encodes s except for unreserved characters and '/'. A space
// becomes %20, which every decoder reads alike.
func appendURL(b []byte, s string) []byte {
	const hex = "0123456789ABCDEF"
	for i := 0; i < len(s); i++ {
		if c := s[i]; plainInURL(c) {
			b = append(b, c)
		} else {
			b = append(b, '%', hex[c>>4], hex[c&15])
		}
	}
	return b
}

func plainInURL(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		c == '-' || c == '_' || c == '.' || c == '~' || c == '/' || c == '*'
}

// tokenForm is the first byte of a continuation token's content, so that the
// form can change.
const tokenForm = "1"

func makeToken(after string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(tokenForm + after))
}

func readToken(token string) (after string, err error) {
	b, err := base64.RawURLEncoding.DecodeString(token)
	after, ok := strings.CutPrefix(string(b), tokenForm)
	if err != nil || !ok || !utf8.ValidString(after) || len(after) > object.MaxKeyBytes {
		return "", fail(invalidArgument, "The continuation token provided is incorrect.")
	}
	return after, nil
}

func (a *API) listBuckets(c *call) (*httpd.Response, error) {
	limit, err := c.number("max-buckets", 10_000, 10_000)
	if err != nil {
		return nil, err
	}
	if limit == 0 {
		return nil, fail(invalidArgument, "Argument max-buckets must be an integer between 1 and 10000.")
	}
	prefix, after := c.query.get("prefix"), ""
	if token, ok := c.query.lookup("continuation-token"); ok {
		if after, err = readToken(token); err != nil {
			return nil, err
		}
	}
	x := newXML()
	x.root("ListAllMyBucketsResult")
	x.person("Owner", a.Owner)
	x.open("Buckets")
	last, more, n := "", false, 0
	if region, ok := c.query.lookup("bucket-region"); !ok || region == a.Region {
		for _, b := range c.view.BucketsOf(c.key.ID) {
			if b.Name <= after || !strings.HasPrefix(b.Name, prefix) || !allowed(b, c.key.ID) {
				continue
			}
			if n == limit {
				more = true
				break
			}
			x.open("Bucket")
			x.el("Name", b.Name)
			x.time("CreationDate", b.Bucket.Created)
			x.el("BucketRegion", a.Region)
			x.close("Bucket")
			last, n = b.Name, n+1
		}
	}
	x.close("Buckets")
	if more {
		x.el("ContinuationToken", makeToken(last))
	}
	x.opt("Prefix", prefix)
	x.close("ListAllMyBucketsResult")
	return x.respond(c), nil
}
