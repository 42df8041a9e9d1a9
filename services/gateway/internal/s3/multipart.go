package s3

import (
	"net/http"
	"strings"

	"hangar/services/gateway/internal/checksum"
	"hangar/services/gateway/internal/content"
	"hangar/services/gateway/internal/httpd"
	"hangar/services/gateway/internal/objects"
	"hangar/shared/object"
)

func (a *API) createUpload(c *call) (*httpd.Response, error) {
	meta, err := c.metadata()
	if err != nil {
		return nil, err
	}
	in := objects.CreateUploadInput{Location: c.location(), Metadata: meta, Initiator: c.key.ID}
	if in.Checksum, in.FullObject, err = c.uploadChecksum(); err != nil {
		return nil, err
	}
	id, err := a.Store.CreateUpload(c.ctx, in)
	if err != nil {
		return nil, err
	}
	x := newXML()
	x.root("InitiateMultipartUploadResult")
	x.el("Bucket", c.at.bucket)
	x.el("Key", c.at.key)
	x.el("UploadId", id.String())
	x.close("InitiateMultipartUploadResult")
	resp := x.respond(c)
	if in.Checksum != "" {
		resp.Set(hdrAlgorithm, string(in.Checksum))
		resp.Set(hdrSumType, sumType(objects.Checksum{Composite: !in.FullObject}))
	}
	return resp, nil
}

// upload reads the uploadId parameter.
func (c *call) upload() (object.VersionID, error) {
	id, err := object.ParseVersionID(c.query.get("uploadId"))
	if err != nil {
		return id, fail(noSuchUpload, "")
	}
	return id, nil
}

func (a *API) uploadPart(c *call) (*httpd.Response, error) {
	if !c.req.HasLength && c.header("x-amz-decoded-content-length") == "" {
		return nil, fail(missingContentLength, "")
	}
	in := objects.PartInput{Location: c.location()}
	var err error
	if in.Upload, err = c.upload(); err != nil {
		return nil, err
	}
	if in.Number, err = c.partNumber(); err != nil {
		return nil, err
	}
	if in.Body, err = c.body(maxPutBytes); err != nil {
		return nil, err
	}
	part, err := a.Store.UploadPart(c.ctx, in)
	if err != nil {
		return nil, err
	}
	resp := c.response(http.StatusOK, 2)
	resp.Set(hdrETag, quote(part.ETag))
	setSum(resp, part.Checksum, false)
	return resp, nil
}

func (a *API) uploadPartCopy(c *call) (*httpd.Response, error) {
	in := objects.PartCopyInput{Location: c.location(), SourceIf: c.sourceConditions()}
	var err error
	if in.Upload, err = c.upload(); err != nil {
		return nil, err
	}
	if in.Number, err = c.partNumber(); err != nil {
		return nil, err
	}
	if in.Source, err = a.copied(c); err != nil {
		return nil, err
	}
	if text := c.header("x-amz-copy-source-range"); text != "" {
		in.Range = parseRange(text)
		if in.Range == nil || in.Range.First < 0 || in.Range.Last < 0 {
			return nil, fail(invalidArgument, "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the zero-based offsets of the first and last bytes to copy.")
		}
	}
	part, err := a.Store.UploadPartCopy(c.ctx, in)
	if err != nil {
		return nil, copyFailed(err)
	}
	x := newXML()
	x.root("CopyPartResult")
	x.time("LastModified", part.Modified)
	x.etag(part.ETag)
	x.elSum(part.Checksum, false)
	x.close("CopyPartResult")
	return x.respond(c), nil
}

// completeDocument is the body of CompleteMultipartUpload.
type completeDocument struct {
	XMLName struct{}       `xml:"CompleteMultipartUpload"`
	Parts   []completePart `xml:"Part"`
}

type completePart struct {
	PartNumber                    int
	ETag                          string
	ChecksumCRC32, ChecksumCRC32C string
	ChecksumCRC64NVME             string
	ChecksumSHA1, ChecksumSHA256  string
}

// checksum is the part's checksum as the client names it; nil for none.
func (p *completePart) checksum() ([]byte, error) {
	for _, named := range []struct {
		algorithm checksum.Algorithm
		text      string
	}{
		{checksum.CRC32, p.ChecksumCRC32}, {checksum.CRC32C, p.ChecksumCRC32C},
		{checksum.CRC64NVME, p.ChecksumCRC64NVME},
		{checksum.SHA1, p.ChecksumSHA1}, {checksum.SHA256, p.ChecksumSHA256},
	} {
		if named.text == "" {
			continue
		}
		value, err := checksum.Decode(named.algorithm, strings.TrimSpace(named.text))
		if err != nil {
			return nil, &apiError{code: code{"InvalidPart", http.StatusBadRequest, "A part's checksum cannot be read."}, cause: err}
		}
		return value, nil
	}
	return nil, nil
}

func (a *API) completeUpload(c *call) (*httpd.Response, error) {
	in := objects.CompleteInput{Location: c.location(), Size: -1}
	var err error
	if in.Upload, err = c.upload(); err != nil {
		return nil, err
	}
	if in.If, err = c.writeConditions(); err != nil {
		return nil, err
	}
	if in.Checksum, err = c.statedSum(); err != nil {
		return nil, err
	}
	if text := c.header("x-amz-mp-object-size"); text != "" {
		size, ok := offset(text)
		if !ok {
			return nil, fail(invalidRequest, "Value for x-amz-mp-object-size header is invalid.")
		}
		in.Size = size
	}
	// Checksums in the headers are about the object, not about this body.
	src := c.source(maxLongXMLBytes)
	src.ForeignChecksum = true
	body, err := content.New(src)
	if err != nil {
		return nil, err
	}
	var doc completeDocument
	if err := readXML(body, maxLongXMLBytes, &doc); err != nil {
		return nil, err
	}
	if len(doc.Parts) == 0 || len(doc.Parts) > maxParts {
		return nil, fail(malformedXML, "")
	}
	in.Parts = make([]objects.CompletePart, len(doc.Parts))
	for i := range doc.Parts {
		p := &doc.Parts[i]
		if p.PartNumber < 1 || p.PartNumber > maxParts {
			return nil, fail(invalidArgument, "Part number must be an integer between 1 and 10000, inclusive.")
		}
		in.Parts[i] = objects.CompletePart{Number: p.PartNumber, ETag: unquote(p.ETag)}
		if in.Parts[i].Checksum, err = p.checksum(); err != nil {
			return nil, err
		}
	}
	info, err := a.Store.CompleteUpload(c.ctx, in)
	if err != nil {
		return nil, c.conditionOnMissing(err)
	}
	return completed(c, &info), nil
}

func completed(c *call, info *objects.Info) *httpd.Response {
	x := newXML()
	x.root("CompleteMultipartUploadResult")
	x.open("Location")
	x.text("http://" + c.req.Host + c.req.RawPath)
	x.close("Location")
	x.el("Bucket", c.at.bucket)
	x.el("Key", c.at.key)
	x.etag(info.ETag)
	x.elSum(info.Checksum, true)
	x.close("CompleteMultipartUploadResult")
	return x.respond(c)
}

func (a *API) abortUpload(c *call) (*httpd.Response, error) {
	id, err := c.upload()
	if err != nil {
		return nil, err
	}
	if err := a.Store.AbortUpload(c.ctx, c.location(), id); err != nil {
		return nil, err
	}
	return c.response(http.StatusNoContent, 0), nil
}

func (a *API) listParts(c *call) (*httpd.Response, error) {
	in := objects.ListPartsInput{Location: c.location()}
	var err error
	if in.Upload, err = c.upload(); err != nil {
		return nil, err
	}
	if in.After, err = c.number("part-number-marker", 0, maxParts); err != nil {
		return nil, err
	}
	if in.Limit, err = c.number("max-parts", maxPage, maxPage); err != nil {
		return nil, err
	}
	urlEncode, err := c.urlEncoding()
	if err != nil {
		return nil, err
	}
	page, err := a.Store.ListParts(c.ctx, in)
	if err != nil {
		return nil, err
	}
	x := pooledXML()
	x.root("ListPartsResult")
	x.el("Bucket", c.at.bucket)
	x.name("Key", c.at.key, urlEncode)
	x.el("UploadId", in.Upload.String())
	x.int("PartNumberMarker", int64(in.After))
	if page.More {
		x.int("NextPartNumberMarker", int64(page.Next))
	}
	x.int("MaxParts", int64(in.Limit))
	x.bool("IsTruncated", page.More)
	if page.Checksum != "" {
		x.el("ChecksumAlgorithm", string(page.Checksum))
		x.el("ChecksumType", sumType(objects.Checksum{Composite: !page.FullObject}))
	}
	x.person("Initiator", page.Initiator)
	x.person("Owner", a.Owner)
	x.el("StorageClass", "STANDARD")
	for i := range page.Parts {
		p := &page.Parts[i]
		x.open("Part")
		x.int("PartNumber", int64(p.Number))
		x.time("LastModified", p.Modified)
		x.etag(p.ETag)
		x.int("Size", p.Size)
		x.elSum(p.Checksum, false)
		x.close("Part")
	}
	x.close("ListPartsResult")
	return x.stream(c), nil
}

func (a *API) listUploads(c *call) (*httpd.Response, error) {
	in := objects.ListUploadsInput{
		Bucket: c.bucket.ID, Prefix: c.query.get("prefix"), Delimiter: c.query.get("delimiter"),
		AfterKey: c.query.get("key-marker"),
	}
	if in.AfterKey != "" {
		in.AfterUpload = c.query.get("upload-id-marker")
	}
	urlEncode, err := c.urlEncoding()
	if err != nil {
		return nil, err
	}
	if in.Limit, err = c.number("max-uploads", maxPage, maxPage); err != nil {
		return nil, err
	}
	var page objects.UploadListing
	if in.Limit > 0 {
		if page, err = a.Store.ListUploads(c.ctx, in); err != nil {
			return nil, err
		}
	}
	x := pooledXML()
	x.root("ListMultipartUploadsResult")
	x.el("Bucket", c.at.bucket)
	x.name("KeyMarker", in.AfterKey, urlEncode)
	x.el("UploadIdMarker", in.AfterUpload)
	if page.More {
		x.name("NextKeyMarker", page.NextKey, urlEncode)
		x.el("NextUploadIdMarker", page.NextUpload)
	}
	if in.Delimiter != "" {
		x.name("Delimiter", in.Delimiter, urlEncode)
	}
	x.name("Prefix", in.Prefix, urlEncode)
	if urlEncode {
		x.el("EncodingType", "url")
	}
	x.int("MaxUploads", int64(in.Limit))
	x.bool("IsTruncated", page.More)
	for i := range page.Uploads {
		a.uploadEntry(x, &page.Uploads[i], urlEncode)
	}
	x.prefixes(page.Prefixes, urlEncode)
	x.close("ListMultipartUploadsResult")
	return x.stream(c), nil
}

func (a *API) uploadEntry(x *document, u *objects.Upload, urlEncode bool) {
	x.open("Upload")
	x.name("Key", u.Key, urlEncode)
	x.el("UploadId", u.ID.String())
	x.person("Initiator", u.Initiator)
	x.person("Owner", a.Owner)
	x.el("StorageClass", "STANDARD")
	x.time("Initiated", u.Started)
	if u.Checksum != "" {
		x.el("ChecksumAlgorithm", string(u.Checksum))
		x.el("ChecksumType", sumType(objects.Checksum{Composite: !u.FullObject}))
	}
	x.close("Upload")
}
