package s3

import (
	"errors"
	"net/http"
	"strconv"
	"strings"

	"hangar/services/gateway/internal/httpd"
	"hangar/services/gateway/internal/objects"
	"hangar/shared/fault"
)

func (a *API) putObject(c *call) (*httpd.Response, error) {
	if c.header("Content-Range") != "" {
		return nil, fail(notImplemented, "Writing a part of an object is not implemented.")
	}
	if !c.req.HasLength && c.header("x-amz-decoded-content-length") == "" {
		return nil, fail(missingContentLength, "")
	}
	meta, err := c.metadata()
	if err != nil {
		return nil, err
	}
	cond, err := c.writeConditions()
	if err != nil {
		return nil, err
	}
	body, err := c.body(maxPutBytes)
	if err != nil {
		return nil, err
	}
	info, err := a.Store.Put(c.ctx, objects.PutInput{Location: c.location(), Body: body, Metadata: meta, If: cond})
	if err != nil {
		return nil, c.conditionOnMissing(err)
	}
	resp := c.response(http.StatusOK, 4)
	resp.Set(hdrETag, quote(info.ETag))
	setSum(resp, info.Checksum, true)
	return resp, nil
}

// conditionOnMissing: a write that demands an ETag of an object that is not
// there answers NoSuchKey, and any other failed condition PreconditionFailed.
func (c *call) conditionOnMissing(err error) error {
	if errors.Is(err, objects.ErrNoSuchKey) {
		return err
	}
	if fault.Is(err, fault.Precondition) {
		name := "If-Match"
		if c.header("If-None-Match") != "" {
			name = "If-None-Match"
		}
		e := describe(err)
		e.extra = []httpd.Field{{Name: "Condition", Value: name}}
		return e
	}
	return err
}

func (a *API) getObject(c *call) (*httpd.Response, error)  { return a.read(c, false) }
func (a *API) headObject(c *call) (*httpd.Response, error) { return a.read(c, true) }

// read answers GET and HEAD.
func (a *API) read(c *call, headOnly bool) (*httpd.Response, error) {
	in := objects.GetInput{Location: c.location(), If: c.readConditions(), HeadOnly: headOnly}
	in.Range = parseRange(c.header("Range"))
	if c.query.has("partNumber") {
		n, err := c.partNumber()
		if err != nil {
			return nil, err
		}
		if in.Range != nil {
			return nil, fail(invalidRequest, "Cannot specify both Range header and partNumber query parameter.")
		}
		in.PartNumber = n
	}
	overrides, err := c.overrides()
	if err != nil {
		return nil, err
	}
	if err := a.checkIfRange(c, &in); err != nil {
		return nil, err
	}
	info, reader, err := a.Store.Get(c.ctx, in)
	if err != nil {
		return nil, readFailed(err, &info)
	}
	resp := c.response(http.StatusOK, 16+len(info.Metadata.User))
	describeObject(resp, &info)
	if in.PartNumber > 0 && info.PartCount > 0 {
		resp.Set(hdrPartCount, strconv.Itoa(info.PartCount))
	}
	if (in.Range != nil || in.PartNumber > 0) && info.Length > 0 {
		resp.Status = http.StatusPartialContent
		resp.Set("Content-Range", contentRange(info.Offset, info.Length, info.Size))
	}
	if strings.EqualFold(c.header(hdrSumMode), "ENABLED") {
		switch {
		case info.Part != nil:
			setSum(resp, info.Part.Checksum, false)
		case info.Length == info.Size:
			setSum(resp, info.Checksum, true)
		}
	}
	for _, o := range overrides {
		replaceField(resp, o)
	}
	resp.Stream, resp.Length = reader, info.Length
	return resp, nil
}

func contentRange(offset, length, size int64) string {
	return "bytes " + strconv.FormatInt(offset, 10) + "-" + strconv.FormatInt(offset+length-1, 10) +
		"/" + strconv.FormatInt(size, 10)
}

// readFailed adds to a failed read what HTTP wants to know with it.
func readFailed(err error, info *objects.Info) error {
	e := describe(err)
	switch {
	case errors.Is(err, objects.ErrInvalidRange):
		size := strconv.FormatInt(info.Size, 10)
		e.header = append(e.header, httpd.Field{Name: "Content-Range", Value: "bytes */" + size})
		e.extra = append(e.extra, httpd.Field{Name: "ActualObjectSize", Value: size})
	case e.status == http.StatusNotModified, e.status == http.StatusPreconditionFailed:
		var about httpd.Response
		describeState(&about, info)
		e.header = append(e.header, about.Header...)
	default:
		return err
	}
	return e
}

// checkIfRange drops the range when If-Range names another state of the object
// than the present one, and otherwise pins it.
func (a *API) checkIfRange(c *call, in *objects.GetInput) error {
	want := c.header("If-Range")
	if want == "" || in.Range == nil {
		return nil
	}
	info, err := a.Store.Head(c.ctx, in.Location)
	if err != nil {
		return err
	}
	if want != quote(info.ETag) && !httpTime(want).Equal(info.Modified.Truncate(1e9)) {
		in.Range = nil
	} else if in.If.IfMatch == "" {
		in.If.IfMatch = quote(info.ETag)
	}
	return nil
}

// overrides are the response-* parameters: what the answer's headers shall be.
func (c *call) overrides() ([]httpd.Field, error) {
	var fields []httpd.Field
	for _, p := range c.query {
		name, ok := strings.CutPrefix(p.name, "response-")
		if !ok {
			continue
		}
		if !noControl(p.value) {
			return nil, fail(invalidArgument, "The parameter %q holds control characters.", p.name)
		}
		if name != "expires" {
			name = http.CanonicalHeaderKey(name)
		} else {
			name = "Expires"
		}
		fields = append(fields, httpd.Field{Name: name, Value: p.value})
	}
	return fields, nil
}

func replaceField(resp *httpd.Response, f httpd.Field) {
	for i := range resp.Header {
		if resp.Header[i].Name == f.Name {
			resp.Header[i].Value = f.Value
			return
		}
	}
	resp.Header = append(resp.Header, f)
}

func (a *API) deleteObject(c *call) (*httpd.Response, error) {
	cond, err := c.writeConditions()
	if err != nil {
		return nil, err
	}
	if cond.IfNoneMatchAny {
		return nil, fail(notImplemented, "If-None-Match is not implemented on deletions.")
	}
	if err := a.Store.Delete(c.ctx, c.location(), cond); err != nil {
		return nil, c.conditionOnMissing(err)
	}
	return c.response(http.StatusNoContent, 0), nil
}

// attributeNames are those of GetObjectAttributes.
var attributeNames = map[string]bool{"ETag": true, "Checksum": true, "ObjectParts": true, "StorageClass": true, "ObjectSize": true}

func (a *API) getAttributes(c *call) (*httpd.Response, error) {
	asked := map[string]bool{}
	for i := range c.headers {
		if !strings.EqualFold(c.headers[i].Name, "x-amz-object-attributes") {
			continue
		}
		for name := range strings.SplitSeq(c.headers[i].Value, ",") {
			if name = strings.TrimSpace(name); !attributeNames[name] {
				return nil, fail(invalidArgument, "Invalid attribute name %q specified.", name)
			}
			asked[name] = true
		}
	}
	if len(asked) == 0 {
		return nil, fail(invalidRequest, "The x-amz-object-attributes header specifying the attributes to be retrieved is either missing or empty.")
	}
	info, _, err := a.Store.Get(c.ctx, objects.GetInput{Location: c.location(), If: c.readConditions(), HeadOnly: true})
	if err != nil {
		return nil, readFailed(err, &info)
	}
	x := newXML()
	x.root("GetObjectAttributesResponse")
	if asked["ETag"] {
		x.el("ETag", info.ETag)
	}
	if asked["Checksum"] && present(info.Checksum) {
		x.open("Checksum")
		x.elSum(info.Checksum, true)
		x.close("Checksum")
	}
	if asked["ObjectParts"] && info.PartCount > 0 {
		x.open("ObjectParts")
		x.int("PartsCount", int64(info.PartCount))
		x.close("ObjectParts")
	}
	if asked["StorageClass"] {
		x.el("StorageClass", orDefault(info.Metadata.StorageClass, "STANDARD"))
	}
	if asked["ObjectSize"] {
		x.int("ObjectSize", info.Size)
	}
	x.close("GetObjectAttributesResponse")
	resp := x.respond(c)
	resp.Set(hdrLastModified, info.Modified.UTC().Format(http.TimeFormat))
	return resp, nil
}
