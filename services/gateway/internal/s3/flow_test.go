package s3_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

var ctx = context.Background()

func put(t *testing.T, c *sdk.Client, key, body string) *sdk.PutObjectOutput {
	t.Helper()
	out, err := c.PutObject(ctx, &sdk.PutObjectInput{Bucket: aws.String(bucket), Key: &key, Body: strings.NewReader(body)})
	if err != nil {
		t.Fatalf("put %q: %v", key, err)
	}
	return out
}

func content(t *testing.T, c *sdk.Client, in *sdk.GetObjectInput) (string, *sdk.GetObjectOutput) {
	t.Helper()
	in.Bucket = aws.String(bucket)
	out, err := c.GetObject(ctx, in)
	if err != nil {
		t.Fatalf("get %q: %v", *in.Key, err)
	}
	defer out.Body.Close()
	b, err := io.ReadAll(out.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b), out
}

func TestKeysSurviveAsTheyAre(t *testing.T) {
	e := start(t, setup{})
	path := e.client(owner)
	hosted := e.client(owner, func(o *sdk.Options) {
		o.UsePathStyle = false
		o.BaseEndpoint = aws.String("http://" + domain)
		o.HTTPClient = &http.Client{Transport: e.dialer()}
	})
	keys := []string{
		"a", "a/", "a//b", "//lead", "a/../b", "./x", "a b+c", "100%", "%2F", "é/日本", "q?x=1#y", "k&=;:@,$!'()*~",
		"back\\slash", strings.Repeat("k", 1024),
	}
	for i, key := range keys {
		body := fmt.Sprint("content ", i)
		put(t, path, key, body)
		if got, _ := content(t, hosted, &sdk.GetObjectInput{Key: &key}); got != body {
			t.Errorf("%q: got %q, want %q", key, got, body)
		}
	}
	list, err := hosted.ListObjectsV2(ctx, &sdk.ListObjectsV2Input{Bucket: aws.String(bucket)})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, o := range list.Contents {
		got = append(got, *o.Key)
	}
	slices.Sort(keys)
	if !slices.Equal(got, keys) {
		t.Errorf("listed %q, want %q", got, keys)
	}
	long := strings.Repeat("k", 1025)
	_, err = path.PutObject(ctx, &sdk.PutObjectInput{Bucket: aws.String(bucket), Key: &long, Body: strings.NewReader("")})
	wantCode(t, err, "KeyTooLongError")
}

func TestPutGetHeadDelete(t *testing.T) {
	e := start(t, setup{})
	c := e.client(owner)
	key := "doc"
	in := &sdk.PutObjectInput{
		Bucket: aws.String(bucket), Key: &key, Body: strings.NewReader("hello world"),
		ContentType: aws.String("text/plain"), CacheControl: aws.String("no-cache"),
		ContentDisposition: aws.String(`attachment; filename="x"`), ContentEncoding: aws.String("identity"),
		ContentLanguage: aws.String("de"), Metadata: map[string]string{"Plain": "value", "umlaut": "=?UTF-8?Q?gr=C3=BC=C3=9Fe?="},
		StorageClass: types.StorageClassStandardIa, ChecksumAlgorithm: types.ChecksumAlgorithmSha256,
	}
	out := must[*sdk.PutObjectOutput](t)(c.PutObject(ctx, in))
	const etag = `"5eb63bbbe01eeed093cb22bb8f5acdc3"`
	if *out.ETag != etag || aws.ToString(out.ChecksumSHA256) != "uU0nuZNNPgilLlLX2n2r+sSE7+N6U4DukIj3rOLvzek=" {
		t.Errorf("put answered %v, %v", *out.ETag, aws.ToString(out.ChecksumSHA256))
	}
	body, got := content(t, c, &sdk.GetObjectInput{Key: &key, ChecksumMode: types.ChecksumModeEnabled})
	if body != "hello world" || *got.ETag != etag || *got.ContentType != "text/plain" || *got.CacheControl != "no-cache" ||
		*got.ContentDisposition != `attachment; filename="x"` || *got.ContentEncoding != "identity" ||
		*got.ContentLanguage != "de" || got.StorageClass != types.StorageClassStandardIa {
		t.Errorf("got %q with %+v", body, got)
	}
	if got.Metadata["plain"] != "value" || got.Metadata["umlaut"] != "=?UTF-8?b?Z3LDvMOfZQ==?=" {
		t.Errorf("metadata %v", got.Metadata)
	}
	if aws.ToString(got.ChecksumSHA256) == "" || got.ChecksumType != types.ChecksumTypeFullObject {
		t.Errorf("checksum %v %v", got.ChecksumSHA256, got.ChecksumType)
	}
	head := must[*sdk.HeadObjectOutput](t)(c.HeadObject(ctx, &sdk.HeadObjectInput{Bucket: aws.String(bucket), Key: &key}))
	if *head.ContentLength != 11 || head.ChecksumSHA256 != nil || head.LastModified.IsZero() {
		t.Errorf("head %+v", head)
	}
	attrs := must[*sdk.GetObjectAttributesOutput](t)(c.GetObjectAttributes(ctx, &sdk.GetObjectAttributesInput{
		Bucket: aws.String(bucket), Key: &key, ObjectAttributes: []types.ObjectAttributes{"ETag", "ObjectSize", "Checksum", "StorageClass"}}))
	if *attrs.ETag != strings.Trim(etag, `"`) || *attrs.ObjectSize != 11 || attrs.Checksum.ChecksumSHA256 == nil {
		t.Errorf("attributes %+v", attrs)
	}
	must[*sdk.DeleteObjectOutput](t)(c.DeleteObject(ctx, &sdk.DeleteObjectInput{Bucket: aws.String(bucket), Key: &key}))
	must[*sdk.DeleteObjectOutput](t)(c.DeleteObject(ctx, &sdk.DeleteObjectInput{Bucket: aws.String(bucket), Key: &key}))
	_, err := c.GetObject(ctx, &sdk.GetObjectInput{Bucket: aws.String(bucket), Key: &key})
	wantCode(t, err, "NoSuchKey")
	_, err = c.HeadObject(ctx, &sdk.HeadObjectInput{Bucket: aws.String(bucket), Key: &key})
	wantCode(t, err, "NotFound")
}

func TestLargeObjectsStream(t *testing.T) {
	e := start(t, setup{})
	c := e.client(owner)
	body := bytes.Repeat([]byte("0123456789abcdef"), 700_000)
	key := "large"
	must[*sdk.PutObjectOutput](t)(c.PutObject(ctx, &sdk.PutObjectInput{Bucket: aws.String(bucket), Key: &key, Body: bytes.NewReader(body)}))
	got, _ := content(t, c, &sdk.GetObjectInput{Key: &key})
	if got != string(body) {
		t.Errorf("got %d bytes that differ", len(got))
	}
	for _, r := range []struct {
		header   string
		from, to int
	}{
		{"bytes=0-0", 0, 1}, {"bytes=5-", 5, len(body)}, {"bytes=-7", len(body) - 7, len(body)},
		{"bytes=1048570-2097160", 1048570, 2097161}, {"bytes=11199999-99999999", len(body) - 1, len(body)},
	} {
		got, out := content(t, c, &sdk.GetObjectInput{Key: &key, Range: &r.header})
		if got != string(body[r.from:r.to]) || *out.ContentRange != fmt.Sprintf("bytes %d-%d/%d", r.from, r.to-1, len(body)) {
			t.Errorf("%s: got %d bytes, %s", r.header, len(got), *out.ContentRange)
		}
	}
	for _, r := range []string{"bytes=0-1,3-4", "bytes=9-2", "lines=1-2", "bytes=x-"} {
		if got, out := content(t, c, &sdk.GetObjectInput{Key: &key, Range: &r}); len(got) != len(body) || out.ContentRange != nil {
			t.Errorf("%s: got %d bytes, %v", r, len(got), out.ContentRange)
		}
	}
	a := e.request(owner, "GET", "/photos/large", nil, "Range", "bytes=11200000-")
	if a.StatusCode != http.StatusRequestedRangeNotSatisfiable || a.Header.Get("Content-Range") != "bytes */11200000" || !strings.Contains(a.body, "InvalidRange") {
		t.Errorf("past the end: %d %s %s", a.StatusCode, a.Header.Get("Content-Range"), a.body)
	}
}

func TestConditions(t *testing.T) {
	e := start(t, setup{})
	c := e.client(owner)
	etag := *put(t, c, "k", "one").ETag
	w := func(match, none *string) error {
		_, err := c.PutObject(ctx, &sdk.PutObjectInput{Bucket: aws.String(bucket), Key: aws.String("k"),
			Body: strings.NewReader("two"), IfMatch: match, IfNoneMatch: none})
		return err
	}
	wantCode(t, w(nil, aws.String("*")), "PreconditionFailed")
	wantCode(t, w(aws.String(`"00000000000000000000000000000000"`), nil), "PreconditionFailed")
	wantCode(t, w(nil, aws.String(etag)), "NotImplemented")
	wantCode(t, w(&etag, nil), "none")
	_, err := c.PutObject(ctx, &sdk.PutObjectInput{Bucket: aws.String(bucket), Key: aws.String("new"),
		Body: strings.NewReader("x"), IfNoneMatch: aws.String("*")})
	wantCode(t, err, "none")

	now := must[*sdk.HeadObjectOutput](t)(c.HeadObject(ctx, &sdk.HeadObjectInput{Bucket: aws.String(bucket), Key: aws.String("k")}))
	for name, want := range map[string]struct {
		header [2]string
		status int
	}{
		"match":            {[2]string{"If-Match", *now.ETag}, 200},
		"match other":      {[2]string{"If-Match", `"x"`}, 412},
		"none match":       {[2]string{"If-None-Match", *now.ETag}, 304},
		"none match other": {[2]string{"If-None-Match", `"x"`}, 200},
		"modified":         {[2]string{"If-Modified-Since", "Wed, 01 Jan 2020 00:00:00 GMT"}, 200},
		"not modified":     {[2]string{"If-Modified-Since", "Fri, 01 Jan 2100 00:00:00 GMT"}, 304},
		"unmodified":       {[2]string{"If-Unmodified-Since", "Fri, 01 Jan 2100 00:00:00 GMT"}, 200},
		"not unmodified":   {[2]string{"If-Unmodified-Since", "Wed, 01 Jan 2020 00:00:00 GMT"}, 412},
		"not a date":       {[2]string{"If-Unmodified-Since", "yesterday"}, 200},
	} {
		for _, method := range []string{"GET", "HEAD"} {
			a := e.request(owner, method, "/photos/k", nil, want.header[0], want.header[1])
			if a.StatusCode != want.status {
				t.Errorf("%s %s: %d, want %d", method, name, a.StatusCode, want.status)
			}
			if a.StatusCode == http.StatusNotModified && (a.Header.Get("ETag") != *now.ETag || a.body != "") {
				t.Errorf("%s %s: ETag %q, body %q", method, name, a.Header.Get("ETag"), a.body)
			}
		}
	}
	ranged := e.request(owner, "GET", "/photos/k", nil, "Range", "bytes=0-0", "If-Range", *now.ETag)
	whole := e.request(owner, "GET", "/photos/k", nil, "Range", "bytes=0-0", "If-Range", `"x"`)
	if ranged.StatusCode != http.StatusPartialContent || whole.StatusCode != http.StatusOK {
		t.Errorf("If-Range: %d and %d, want 206 and 200", ranged.StatusCode, whole.StatusCode)
	}
	_, err = c.DeleteObject(ctx, &sdk.DeleteObjectInput{Bucket: aws.String(bucket), Key: aws.String("k"), IfMatch: aws.String(`"x"`)})
	wantCode(t, err, "PreconditionFailed")
}

func TestCopy(t *testing.T) {
	e := start(t, setup{})
	c := e.client(owner)
	must[*sdk.PutObjectOutput](t)(c.PutObject(ctx, &sdk.PutObjectInput{Bucket: aws.String(bucket), Key: aws.String("dir/a b+é%"),
		Body: strings.NewReader("payload"), Metadata: map[string]string{"who": "source"}, ContentType: aws.String("text/x")}))
	for _, source := range []string{"photos/dir/a%20b%2B%C3%A9%25", "/photos/dir/a%20b+%C3%A9%25", "%2Fphotos%2Fdir%2Fa%20b%2B%C3%A9%25", "photos/dir/a%20b%2B%C3%A9%25?versionId=null"} {
		out, err := c.CopyObject(ctx, &sdk.CopyObjectInput{Bucket: aws.String(bucket), Key: aws.String("copy"), CopySource: &source})
		if err != nil || *out.CopyObjectResult.ETag != `"321c3cf486ed509164edec1e1981fec8"` {
			t.Errorf("%s: %v", source, err)
		}
	}
	self := "photos/copy"
	_, err := c.CopyObject(ctx, &sdk.CopyObjectInput{Bucket: aws.String(bucket), Key: aws.String("copy"), CopySource: &self})
	wantCode(t, err, "InvalidRequest")
	must[*sdk.CopyObjectOutput](t)(c.CopyObject(ctx, &sdk.CopyObjectInput{Bucket: aws.String(bucket), Key: aws.String("copy"), CopySource: &self,
		MetadataDirective: types.MetadataDirectiveReplace, Metadata: map[string]string{"who": "me"}}))
	body, got := content(t, c, &sdk.GetObjectInput{Key: aws.String("copy")})
	if body != "payload" || got.Metadata["who"] != "me" || *got.ContentType != "binary/octet-stream" {
		t.Errorf("replaced: %q %v %v", body, got.Metadata, *got.ContentType)
	}
	must[*sdk.CopyObjectOutput](t)(c.CopyObject(ctx, &sdk.CopyObjectInput{Bucket: aws.String(bucket), Key: aws.String("copy"), CopySource: &self,
		StorageClass: types.StorageClassStandardIa}))
	if _, got := content(t, c, &sdk.GetObjectInput{Key: aws.String("copy")}); got.Metadata["who"] != "me" || got.StorageClass != types.StorageClassStandardIa {
		t.Errorf("storage class: %v %v", got.Metadata, got.StorageClass)
	}
	for code, in := range map[string]*sdk.CopyObjectInput{
		"NoSuchKey":          {CopySource: aws.String("photos/none")},
		"NoSuchBucket":       {CopySource: aws.String("nothere/x")},
		"InvalidArgument":    {CopySource: aws.String("photos")},
		"NoSuchVersion":      {CopySource: aws.String("photos/copy?versionId=123")},
		"PreconditionFailed": {CopySource: &self, CopySourceIfNoneMatch: got.ETag},
	} {
		in.Bucket, in.Key = aws.String(bucket), aws.String("target")
		_, err := c.CopyObject(ctx, in)
		wantCode(t, err, code)
	}
	_, err = e.client(reader).CopyObject(ctx, &sdk.CopyObjectInput{Bucket: aws.String(bucket), Key: aws.String("t"), CopySource: &self})
	wantCode(t, err, "AccessDenied")
}

func TestMultipart(t *testing.T) {
	e := start(t, setup{})
	c := e.client(owner)
	key := aws.String("up/load")
	for _, alg := range []types.ChecksumAlgorithm{"", types.ChecksumAlgorithmCrc32, types.ChecksumAlgorithmSha256, types.ChecksumAlgorithmCrc64nvme} {
		t.Run("checksum "+string(alg), func(t *testing.T) {
			up := must[*sdk.CreateMultipartUploadOutput](t)(c.CreateMultipartUpload(ctx, &sdk.CreateMultipartUploadInput{
				Bucket: aws.String(bucket), Key: key, ChecksumAlgorithm: alg, Metadata: map[string]string{"a": "b"}}))
			var done types.CompletedMultipartUpload
			for n := int32(1); n <= 3; n++ {
				p := must[*sdk.UploadPartOutput](t)(c.UploadPart(ctx, &sdk.UploadPartInput{Bucket: aws.String(bucket), Key: key,
					UploadId: up.UploadId, PartNumber: &n, Body: strings.NewReader(strings.Repeat(fmt.Sprint(n), 1000)), ChecksumAlgorithm: alg}))
				done.Parts = append(done.Parts, types.CompletedPart{PartNumber: &n, ETag: p.ETag,
					ChecksumCRC32: p.ChecksumCRC32, ChecksumSHA256: p.ChecksumSHA256, ChecksumCRC64NVME: p.ChecksumCRC64NVME})
			}
			parts := must[*sdk.ListPartsOutput](t)(c.ListParts(ctx, &sdk.ListPartsInput{Bucket: aws.String(bucket), Key: key, UploadId: up.UploadId, MaxParts: aws.Int32(2)}))
			if len(parts.Parts) != 2 || !*parts.IsTruncated || *parts.NextPartNumberMarker != "2" || *parts.Initiator.ID != owner.ID {
				t.Errorf("parts %+v", parts)
			}
			uploads := must[*sdk.ListMultipartUploadsOutput](t)(c.ListMultipartUploads(ctx, &sdk.ListMultipartUploadsInput{Bucket: aws.String(bucket), Prefix: aws.String("up/")}))
			if len(uploads.Uploads) != 1 || *uploads.Uploads[0].UploadId != *up.UploadId {
				t.Errorf("uploads %+v", uploads.Uploads)
			}
			out := must[*sdk.CompleteMultipartUploadOutput](t)(c.CompleteMultipartUpload(ctx, &sdk.CompleteMultipartUploadInput{
				Bucket: aws.String(bucket), Key: key, UploadId: up.UploadId, MultipartUpload: &done}))
			if !strings.HasSuffix(*out.ETag, `-3"`) {
				t.Errorf("etag %s", *out.ETag)
			}
			body, got := content(t, c, &sdk.GetObjectInput{Key: key, ChecksumMode: types.ChecksumModeEnabled})
			if len(body) != 3000 || got.Metadata["a"] != "b" {
				t.Errorf("got %d bytes, %v", len(body), got.Metadata)
			}
			part, got := content(t, c, &sdk.GetObjectInput{Key: key, PartNumber: aws.Int32(2)})
			if part != strings.Repeat("2", 1000) || *got.PartsCount != 3 || *got.ContentRange != "bytes 1000-1999/3000" {
				t.Errorf("part 2: %d bytes, %v, %v", len(part), *got.PartsCount, *got.ContentRange)
			}
			_, err := c.GetObject(ctx, &sdk.GetObjectInput{Bucket: aws.String(bucket), Key: key, PartNumber: aws.Int32(4)})
			wantCode(t, err, "InvalidPartNumber")
		})
	}
	up := must[*sdk.CreateMultipartUploadOutput](t)(c.CreateMultipartUpload(ctx, &sdk.CreateMultipartUploadInput{Bucket: aws.String(bucket), Key: key}))
	source := aws.String("photos/up/load")
	cp := must[*sdk.UploadPartCopyOutput](t)(c.UploadPartCopy(ctx, &sdk.UploadPartCopyInput{Bucket: aws.String(bucket), Key: key, UploadId: up.UploadId,
		PartNumber: aws.Int32(7), CopySource: source, CopySourceRange: aws.String("bytes=999-1000")}))
	_, err := c.CompleteMultipartUpload(ctx, &sdk.CompleteMultipartUploadInput{Bucket: aws.String(bucket), Key: key, UploadId: up.UploadId,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: []types.CompletedPart{{PartNumber: aws.Int32(7), ETag: aws.String(`"x"`)}}}})
	wantCode(t, err, "InvalidPart")
	must[*sdk.CompleteMultipartUploadOutput](t)(c.CompleteMultipartUpload(ctx, &sdk.CompleteMultipartUploadInput{Bucket: aws.String(bucket), Key: key, UploadId: up.UploadId,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: []types.CompletedPart{{PartNumber: aws.Int32(7), ETag: cp.CopyPartResult.ETag}}}}))
	if body, _ := content(t, c, &sdk.GetObjectInput{Key: key}); body != "12" {
		t.Errorf("copied part: %q", body)
	}
	up = must[*sdk.CreateMultipartUploadOutput](t)(c.CreateMultipartUpload(ctx, &sdk.CreateMultipartUploadInput{Bucket: aws.String(bucket), Key: key}))
	must[*sdk.AbortMultipartUploadOutput](t)(c.AbortMultipartUpload(ctx, &sdk.AbortMultipartUploadInput{Bucket: aws.String(bucket), Key: key, UploadId: up.UploadId}))
	_, err = c.UploadPart(ctx, &sdk.UploadPartInput{Bucket: aws.String(bucket), Key: key, UploadId: up.UploadId, PartNumber: aws.Int32(1), Body: strings.NewReader("x")})
	wantCode(t, err, "NoSuchUpload")
	for _, n := range []int32{0, 10001} {
		_, err = c.UploadPart(ctx, &sdk.UploadPartInput{Bucket: aws.String(bucket), Key: key, UploadId: up.UploadId, PartNumber: &n, Body: strings.NewReader("x")})
		wantCode(t, err, "InvalidArgument")
	}
}

func TestListings(t *testing.T) {
	e := start(t, setup{})
	c := e.client(owner)
	for _, k := range []string{"a", "b/1", "b/2", "c/1", "d\x01", "d<&>\"\r\n"} {
		put(t, c, k, "x")
	}
	var pages [][]string
	p := sdk.NewListObjectsV2Paginator(c, &sdk.ListObjectsV2Input{Bucket: aws.String(bucket), Delimiter: aws.String("/"), MaxKeys: aws.Int32(2), EncodingType: "url"})
	for p.HasMorePages() {
		out := must[*sdk.ListObjectsV2Output](t)(p.NextPage(ctx))
		var page []string
		for _, o := range out.Contents {
			page = append(page, *o.Key)
		}
		for _, o := range out.CommonPrefixes {
			page = append(page, *o.Prefix)
		}
		pages = append(pages, page)
	}
	want := `[["a" "b/"] ["d%01" "c/"] ["d%3C%26%3E%22%0D%0A"]]`
	if got := fmt.Sprintf("%q", pages); got != want {
		t.Errorf("pages %s, want %s", got, want)
	}
	v1 := must[*sdk.ListObjectsOutput](t)(c.ListObjects(ctx, &sdk.ListObjectsInput{Bucket: aws.String(bucket), Delimiter: aws.String("/"), MaxKeys: aws.Int32(2), Marker: aws.String("a")}))
	if len(v1.CommonPrefixes) != 2 || *v1.NextMarker != "c/" || !*v1.IsTruncated {
		t.Errorf("v1 %+v", v1)
	}
	raw := e.request(owner, "GET", "/photos?prefix=d", nil)
	for _, want := range []string{"<Key>d&#x1;</Key>", "<Key>d&lt;&amp;&gt;&quot;&#xd;&#xa;</Key>", "<DisplayName>cluster</DisplayName>"} {
		if !strings.Contains(raw.body, want) {
			t.Errorf("%s is not in %s", want, raw.body)
		}
	}
	none := must[*sdk.ListObjectsV2Output](t)(c.ListObjectsV2(ctx, &sdk.ListObjectsV2Input{Bucket: aws.String(bucket), MaxKeys: aws.Int32(0)}))
	if *none.KeyCount != 0 || *none.IsTruncated {
		t.Errorf("max-keys 0: %+v", none)
	}
	after := must[*sdk.ListObjectsV2Output](t)(c.ListObjectsV2(ctx, &sdk.ListObjectsV2Input{Bucket: aws.String(bucket), StartAfter: aws.String("b/1"), Prefix: aws.String("b/"), FetchOwner: aws.Bool(true)}))
	if len(after.Contents) != 1 || *after.Contents[0].Key != "b/2" || *after.Contents[0].Owner.ID != "cluster" {
		t.Errorf("start-after: %+v", after.Contents)
	}
	_, err := c.ListObjectsV2(ctx, &sdk.ListObjectsV2Input{Bucket: aws.String(bucket), ContinuationToken: aws.String("made up")})
	wantCode(t, err, "InvalidArgument")
}

func TestDeleteObjects(t *testing.T) {
	e := start(t, setup{})
	c := e.client(owner)
	var ids []types.ObjectIdentifier
	for i := range 1000 {
		key := fmt.Sprintf("k%03d", i)
		if i < 20 {
			put(t, c, key, "x")
		}
		ids = append(ids, types.ObjectIdentifier{Key: &key})
	}
	out := must[*sdk.DeleteObjectsOutput](t)(c.DeleteObjects(ctx, &sdk.DeleteObjectsInput{Bucket: aws.String(bucket), Delete: &types.Delete{Objects: ids}}))
	if len(out.Deleted) != 1000 || len(out.Errors) != 0 {
		t.Errorf("deleted %d, errors %v", len(out.Deleted), out.Errors)
	}
	put(t, c, "stays", "x")
	out = must[*sdk.DeleteObjectsOutput](t)(c.DeleteObjects(ctx, &sdk.DeleteObjectsInput{Bucket: aws.String(bucket), Delete: &types.Delete{Quiet: aws.Bool(true),
		Objects: []types.ObjectIdentifier{{Key: aws.String("stays"), ETag: aws.String(`"no"`)}, {Key: aws.String("x"), VersionId: aws.String("v")}, {Key: aws.String("y")}}}}))
	if len(out.Deleted) != 0 || len(out.Errors) != 2 || *out.Errors[0].Code != "PreconditionFailed" || *out.Errors[1].Code != "NoSuchVersion" {
		t.Errorf("quiet: %+v %+v", out.Deleted, out.Errors)
	}
	_, err := c.DeleteObjects(ctx, &sdk.DeleteObjectsInput{Bucket: aws.String(bucket), Delete: &types.Delete{Objects: append(ids, ids[0])}})
	wantCode(t, err, "MalformedXML")
	list := must[*sdk.ListObjectsV2Output](t)(c.ListObjectsV2(ctx, &sdk.ListObjectsV2Input{Bucket: aws.String(bucket)}))
	if len(list.Contents) != 1 {
		t.Errorf("%d objects are left, want 1", len(list.Contents))
	}
}

func TestBuckets(t *testing.T) {
	e := start(t, setup{})
	c := e.client(owner)
	create := func(c *sdk.Client, name string) error {
		_, err := c.CreateBucket(ctx, &sdk.CreateBucketInput{Bucket: &name,
			CreateBucketConfiguration: &types.CreateBucketConfiguration{LocationConstraint: region}})
		return err
	}
	wantCode(t, create(c, "fresh"), "none")
	wantCode(t, create(c, "fresh"), "BucketAlreadyOwnedByYou")
	wantCode(t, create(e.client(reader), "other"), "AccessDenied")
	wantCode(t, create(c, "Bad_Name"), "InvalidBucketName")
	_, err := c.CreateBucket(ctx, &sdk.CreateBucketInput{Bucket: aws.String("else"), CreateBucketConfiguration: &types.CreateBucketConfiguration{LocationConstraint: "eu-west-1"}})
	wantCode(t, err, "InvalidLocationConstraint")
	list := must[*sdk.ListBucketsOutput](t)(c.ListBuckets(ctx, &sdk.ListBucketsInput{}))
	if len(list.Buckets) != 2 || *list.Owner.ID != "cluster" {
		t.Errorf("buckets %+v", list.Buckets)
	}
	head := must[*sdk.HeadBucketOutput](t)(c.HeadBucket(ctx, &sdk.HeadBucketInput{Bucket: aws.String("fresh")}))
	if *head.BucketRegion != region {
		t.Errorf("region %v", *head.BucketRegion)
	}
	loc := must[*sdk.GetBucketLocationOutput](t)(c.GetBucketLocation(ctx, &sdk.GetBucketLocationInput{Bucket: aws.String("fresh")}))
	if loc.LocationConstraint != region {
		t.Errorf("location %v", loc.LocationConstraint)
	}
	_, err = e.client(nobody).HeadBucket(ctx, &sdk.HeadBucketInput{Bucket: aws.String("fresh")})
	wantCode(t, err, "Forbidden")
	_, err = c.HeadBucket(ctx, &sdk.HeadBucketInput{Bucket: aws.String("none")})
	wantCode(t, err, "NotFound")
	wantCode(t, create(c, "full"), "none")
	_, err = c.DeleteBucket(ctx, &sdk.DeleteBucketInput{Bucket: aws.String("full")})
	wantCode(t, err, "BucketNotEmpty")
	must[*sdk.DeleteBucketOutput](t)(c.DeleteBucket(ctx, &sdk.DeleteBucketInput{Bucket: aws.String("fresh")}))
}
