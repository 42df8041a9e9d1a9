package s3

import (
	"net/http"
	"slices"
	"strings"

	"hangar/services/gateway/internal/access"
	"hangar/services/gateway/internal/httpd"
)

// route is one operation of the API.
type route struct {
	// op is S3's name of it, used for spans and metrics.
	op     string
	need   access.Need
	serve  func(a *API, c *call) (*httpd.Response, error)
	params []string
}

// selector finds a route: what is asked of what, the sub-resource in the query
// ("" for none), and whether there is a copy source, which makes another
// operation of a PUT.
type selector struct {
	scope  scope
	method string
	sub    string
	copy   bool
}

const (
	get, head, put, post, del = http.MethodGet, http.MethodHead, http.MethodPut, http.MethodPost, http.MethodDelete
)

var (
	listParams  = []string{"prefix", "delimiter", "marker", "max-keys", "encoding-type"}
	list2Params = []string{"prefix", "delimiter", "start-after", "continuation-token", "max-keys", "encoding-type", "fetch-owner"}
	readParams  = []string{"versionId", "partNumber",
		"response-content-type", "response-content-language", "response-expires",
		"response-cache-control", "response-content-disposition", "response-content-encoding"}
	versionParam = []string{"versionId"}
)

// routes is the whole API. What is not here answers NotImplemented or
// MethodNotAllowed.
var routes = map[selector]*route{
	{onService, get, "", false}: {op: "ListBuckets", need: access.Known, serve: (*API).listBuckets,
		params: []string{"prefix", "max-buckets", "continuation-token", "bucket-region"}},

	{onBucket, put, "", false}:          {op: "CreateBucket", need: access.Known, serve: (*API).createBucket},
	{onBucket, head, "", false}:         {op: "HeadBucket", need: access.Any, serve: (*API).headBucket},
	{onBucket, del, "", false}:          {op: "DeleteBucket", need: access.Own, serve: (*API).deleteBucket},
	{onBucket, get, "location", false}:  {op: "GetBucketLocation", need: access.Any, serve: (*API).getBucketLocation},
	{onBucket, get, "", false}:          {op: "ListObjects", need: access.Read, serve: (*API).listObjects, params: listParams},
	{onBucket, get, "list-type", false}: {op: "ListObjectsV2", need: access.Read, serve: (*API).listObjectsV2, params: list2Params},
	{onBucket, get, "uploads", false}: {op: "ListMultipartUploads", need: access.Read, serve: (*API).listUploads,
		params: []string{"prefix", "delimiter", "key-marker", "upload-id-marker", "max-uploads", "encoding-type"}},
	{onBucket, post, "delete", false}: {op: "DeleteObjects", need: access.Write, serve: (*API).deleteObjects},

	{onObject, get, "", false}:           {op: "GetObject", need: access.Read, serve: (*API).getObject, params: readParams},
	{onObject, head, "", false}:          {op: "HeadObject", need: access.Read, serve: (*API).headObject, params: readParams},
	{onObject, put, "", false}:           {op: "PutObject", need: access.Write, serve: (*API).putObject},
	{onObject, put, "", true}:            {op: "CopyObject", need: access.Write, serve: (*API).copyObject},
	{onObject, del, "", false}:           {op: "DeleteObject", need: access.Write, serve: (*API).deleteObject, params: versionParam},
	{onObject, get, "attributes", false}: {op: "GetObjectAttributes", need: access.Read, serve: (*API).getAttributes, params: versionParam},
	{onObject, get, "acl", false}:        {op: "GetObjectAcl", need: access.Read, serve: (*API).getObjectACL, params: versionParam},
	{onObject, get, "tagging", false}:    {op: "GetObjectTagging", need: access.Read, serve: (*API).getObjectTagging, params: versionParam},

	{onObject, post, "uploads", false}:  {op: "CreateMultipartUpload", need: access.Write, serve: (*API).createUpload},
	{onObject, put, "uploadId", false}:  {op: "UploadPart", need: access.Write, serve: (*API).uploadPart, params: []string{"partNumber"}},
	{onObject, put, "uploadId", true}:   {op: "UploadPartCopy", need: access.Write, serve: (*API).uploadPartCopy, params: []string{"partNumber"}},
	{onObject, post, "uploadId", false}: {op: "CompleteMultipartUpload", need: access.Write, serve: (*API).completeUpload},
	{onObject, del, "uploadId", false}:  {op: "AbortMultipartUpload", need: access.Write, serve: (*API).abortUpload},
	{onObject, get, "uploadId", false}: {op: "ListParts", need: access.Read, serve: (*API).listParts,
		params: []string{"max-parts", "part-number-marker", "encoding-type"}},
}

// askConfiguration answers for everything that can be configured on a bucket
// elsewhere and not here.
var askConfiguration = &route{op: "GetBucketConfiguration", need: access.Any, serve: (*API).getConfiguration}

func lookup(s selector) *route {
	if s.scope == onBucket && s.method == get {
		if _, ok := configurations[s.sub]; ok {
			return askConfiguration
		}
	}
	return routes[s]
}

// findRoute picks the operation. A parameter that the operation does not have
// is refused: it would be one whose meaning is ignored.
func findRoute(method string, at scope, q values, copySource bool) (*route, error) {
	s := selector{scope: at, method: method, copy: copySource && method == put && at == onObject}
	for _, p := range q {
		with := s
		with.sub = p.name
		if lookup(with) == nil {
			continue
		}
		if s.sub != "" {
			return nil, fail(invalidRequest, "The query names two sub-resources, %q and %q.", s.sub, p.name)
		}
		s.sub = p.name
	}
	r := lookup(s)
	for _, p := range q {
		if r != nil && (p.name == s.sub || slices.Contains(r.params, p.name)) || neutral(p.name) {
			continue
		}
		return nil, fail(notImplemented, "The query parameter %q is not implemented here.", p.name)
	}
	if r == nil {
		if at == onBucket && method == post {
			return nil, fail(notImplemented, "Uploads by HTML forms are not implemented.")
		}
		return nil, fail(methodNotAllowed, "")
	}
	return r, nil
}

// neutral reports whether a parameter may come with any operation: those of
// the signature, headers moved into a presigned query (checked as headers
// later), and the operation's name that some SDKs add.
func neutral(name string) bool {
	switch name {
	case "x-id", "AWSAccessKeyId", "Signature", "Expires":
		return true
	}
	return len(name) > len(amzPrefix) && strings.EqualFold(name[:len(amzPrefix)], amzPrefix)
}
