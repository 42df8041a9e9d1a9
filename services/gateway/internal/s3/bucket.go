package s3

import (
	"errors"
	"net/http"

	"hangar/services/gateway/internal/access"
	"hangar/services/gateway/internal/httpd"
	"hangar/shared/control"
	"hangar/shared/fault"
)

// allowed reports whether a key has any right on a bucket.
func allowed(b control.Named, keyID string) bool {
	return b.Bucket.Keys[keyID] != control.Permission{}
}

// createConfiguration is the optional body of CreateBucket.
type createConfiguration struct {
	XMLName            struct{} `xml:"CreateBucketConfiguration"`
	LocationConstraint string
	Location           *struct{}
	Bucket             *struct{}
	Tags               *struct{}
}

func (a *API) createBucket(c *call) (*httpd.Response, error) {
	if c.req.ContentLength != 0 {
		body, err := c.body(maxXMLBytes)
		if err != nil {
			return nil, err
		}
		var conf createConfiguration
		if err := readXML(body, maxXMLBytes, &conf); err != nil {
			return nil, err
		}
		if conf.Location != nil || conf.Bucket != nil || conf.Tags != nil {
			return nil, fail(notImplemented, "Buckets with a location type, bucket type or tags are not implemented.")
		}
		if l := conf.LocationConstraint; l != "" && l != a.Region {
			return nil, fail(invalidLocation, "This store has one region, %q.", a.Region)
		}
	}
	if err := control.ValidBucketName(c.at.bucket); err != nil {
		e := describe(err)
		e.code = invalidBucketName
		return nil, e
	}
	_, err := a.Buckets.Create(c.ctx, c.key.ID, c.at.bucket)
	switch {
	case fault.Is(err, fault.AlreadyExists):
		if b := a.View().Resolve(c.key, c.at.bucket); b != nil && b.Keys[c.key.ID].Owner {
			return nil, fail(bucketOwned, "")
		}
		return nil, fail(bucketExists, "")
	case fault.Is(err, fault.NotFound):
		return nil, fail(accessDenied, "")
	case err != nil:
		return nil, err
	}
	resp := c.response(http.StatusOK, 1)
	resp.Set(hdrLocation, "/"+c.at.bucket)
	return resp, nil
}

func (a *API) deleteBucket(c *call) (*httpd.Response, error) {
	err := a.Buckets.Delete(c.ctx, c.key.ID, c.bucket.ID)
	if fault.Is(err, fault.NotFound) && !errors.Is(err, access.ErrNoSuchBucket) {
		err = fault.Wrap(fault.NotFound, access.ErrNoSuchBucket, "bucket %q", c.at.bucket)
	}
	if err != nil {
		return nil, err
	}
	return c.response(http.StatusNoContent, 0), nil
}

func (a *API) headBucket(c *call) (*httpd.Response, error) {
	resp := c.response(http.StatusOK, 2)
	resp.Set(hdrBucketRegion, a.Region)
	resp.Set("x-amz-access-point-alias", "false")
	return resp, nil
}

func (a *API) getBucketLocation(c *call) (*httpd.Response, error) {
	region := a.Region
	if region == "us-east-1" {
		region = "" // S3's oldest region has no name here
	}
	x := newXML()
	x.root("LocationConstraint")
	x.text(region)
	x.close("LocationConstraint")
	return x.respond(c), nil
}
