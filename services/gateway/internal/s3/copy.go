package s3

import (
	"net/http"
	"strings"

	"hangar/services/gateway/internal/access"
	"hangar/services/gateway/internal/httpd"
	"hangar/services/gateway/internal/objects"
	"hangar/shared/object"
)

// copySource reads an x-amz-copy-source header: "[/]bucket/key[?versionId=v]",
// percent-encoded.
func copySource(header string) (t target, err error) {
	path, query, versioned := strings.Cut(header, "?")
	if versioned {
		switch v, ok := strings.CutPrefix(query, "versionId="); {
		case !ok:
			return t, fail(invalidArgument, "Copy Source must mention the source bucket and key: sourcebucket/sourcekey.")
		case v != "null":
			return t, fail(noSuchVersion, "")
		}
	}
	if strings.HasPrefix(path, "arn:") {
		return t, fail(notImplemented, "Copying from an access point is not implemented.")
	}
	decoded, err := unescape(strings.TrimPrefix(path, "/"), false)
	if err != nil {
		return t, fail(invalidArgument, "Copy Source must be URL-encoded UTF-8.")
	}
	// A client that encodes everything encodes the leading slash as well.
	if !strings.HasPrefix(path, "/") {
		decoded = strings.TrimPrefix(decoded, "/")
	}
	t.bucket, t.key, _ = strings.Cut(decoded, "/")
	if t.bucket == "" || t.key == "" {
		return t, fail(invalidArgument, "Copy Source must mention the source bucket and key: sourcebucket/sourcekey.")
	}
	if len(t.key) > object.MaxKeyBytes {
		return t, fail(keyTooLong, "")
	}
	return t, nil
}

// copied finds the object to copy from and checks that the key may read it.
func (a *API) copied(c *call) (at objects.Location, err error) {
	t, err := copySource(c.header(hdrCopySource))
	if err != nil {
		return at, err
	}
	b, err := c.admission.Bucket(t.bucket, access.Read)
	if err != nil {
		return at, err
	}
	return objects.Location{Bucket: b.ID, Key: t.key}, nil
}

func (a *API) copyObject(c *call) (*httpd.Response, error) {
	in := objects.CopyInput{Target: c.location(), SourceIf: c.sourceConditions()}
	var err error
	if in.Source, err = a.copied(c); err != nil {
		return nil, err
	}
	if in.If, err = c.writeConditions(); err != nil {
		return nil, err
	}
	if in.Checksum, err = algorithm(c.header(hdrAlgorithm)); err != nil {
		return nil, err
	}
	if d := c.header("x-amz-tagging-directive"); d != "" && d != "COPY" && d != "REPLACE" {
		return nil, fail(invalidArgument, "Unknown tagging directive.")
	}
	if err := a.copyMetadata(c, &in); err != nil {
		return nil, err
	}
	info, err := a.Store.Copy(c.ctx, in)
	if err != nil {
		return nil, copyFailed(err)
	}
	x := newXML()
	x.root("CopyObjectResult")
	x.time("LastModified", info.Modified)
	x.etag(info.ETag)
	x.elSum(info.Checksum, true)
	x.close("CopyObjectResult")
	return x.respond(c), nil
}

// copyFailed: what for a GET is "not modified" is a failed precondition for a
// copy.
func copyFailed(err error) error {
	if e := describe(err); e.status == http.StatusNotModified {
		e.code = code{"PreconditionFailed", http.StatusPreconditionFailed, "At least one of the preconditions you specified did not hold."}
		return e
	}
	return err
}

// copyMetadata settles what is said about the copy: the source's words, or the
// request's with the directive REPLACE.
func (a *API) copyMetadata(c *call, in *objects.CopyInput) error {
	switch c.header("x-amz-metadata-directive") {
	case "REPLACE":
		m, err := c.metadata()
		in.Metadata = &m
		return err
	case "", "COPY":
	default:
		return fail(invalidArgument, "Unknown metadata directive.")
	}
	class, err := c.storageClass()
	redirect := c.header(hdrRedirect)
	if err != nil || c.header(hdrStorageClass) == "" && redirect == "" {
		return err
	}
	// These two come from the request whatever the directive says.
	info, _, err := a.Store.Get(c.ctx, objects.GetInput{Location: in.Source, If: in.SourceIf, HeadOnly: true})
	if err != nil {
		return copyFailed(err)
	}
	m := info.Metadata
	m.StorageClass, m.WebsiteRedirect = class, redirect
	in.Metadata = &m
	if in.SourceIf.IfMatch == "" {
		in.SourceIf.IfMatch = quote(info.ETag)
	}
	return nil
}
