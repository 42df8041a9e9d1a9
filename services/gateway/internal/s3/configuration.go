package s3

import (
	"net/http"

	"hangar/services/gateway/internal/httpd"
)

// configuration is what a bucket answers when asked for something that cannot
// be configured here: the code that S3 has for "not configured", or an empty
// document where S3 has none. Clients such as Terraform and s3cmd ask for all
// of them and take these answers for what they are. Setting any of them is not
// implemented.
type configuration struct {
	code
	// root and text make the document when there is no code.
	root, element, text string
}

func absent(name, message string) configuration {
	return configuration{code: code{name, http.StatusNotFound, message}}
}

var configurations = map[string]configuration{
	"acl":               {root: "AccessControlPolicy"},
	"versioning":        {root: "VersioningConfiguration"},
	"logging":           {root: "BucketLoggingStatus"},
	"notification":      {root: "NotificationConfiguration"},
	"accelerate":        {root: "AccelerateConfiguration"},
	"requestPayment":    {root: "RequestPaymentConfiguration", element: "Payer", text: "BucketOwner"},
	"policy":            absent("NoSuchBucketPolicy", "The bucket policy does not exist."),
	"cors":              absent("NoSuchCORSConfiguration", "The CORS configuration does not exist."),
	"lifecycle":         absent("NoSuchLifecycleConfiguration", "The lifecycle configuration does not exist."),
	"website":           absent("NoSuchWebsiteConfiguration", "The specified bucket does not have a website configuration."),
	"tagging":           absent("NoSuchTagSet", "There is no tag set associated with the bucket."),
	"replication":       absent("ReplicationConfigurationNotFoundError", "The replication configuration was not found."),
	"encryption":        absent("ServerSideEncryptionConfigurationNotFoundError", "The server side encryption configuration was not found."),
	"object-lock":       absent("ObjectLockConfigurationNotFoundError", "Object Lock configuration does not exist for this bucket."),
	"ownershipControls": absent("OwnershipControlsNotFoundError", "The bucket ownership controls were not found."),
	"publicAccessBlock": absent("NoSuchPublicAccessBlockConfiguration", "The public access block configuration was not found."),
}

func (a *API) getConfiguration(c *call) (*httpd.Response, error) {
	for _, p := range c.query {
		conf, ok := configurations[p.name]
		switch {
		case !ok:
			continue
		case conf.name != "":
			return nil, fail(conf.code, "")
		case p.name == "acl":
			return a.ownerControls(c), nil
		}
		x := newXML()
		x.root(conf.root)
		if conf.element != "" {
			x.el(conf.element, conf.text)
		}
		x.close(conf.root)
		return x.respond(c), nil
	}
	return nil, fail(notImplemented, "")
}

// ownerControls is the access control list of everything: its owner may do
// anything. Who else may is a matter of keys, not of lists.
func (a *API) ownerControls(c *call) *httpd.Response {
	x := newXML()
	x.root("AccessControlPolicy")
	x.person("Owner", a.Owner)
	x.open("AccessControlList")
	x.open("Grant")
	x.b = append(x.b, `<Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="CanonicalUser">`...)
	x.el("ID", a.Owner)
	x.el("DisplayName", a.Owner)
	x.close("Grantee")
	x.el("Permission", "FULL_CONTROL")
	x.close("Grant")
	x.close("AccessControlList")
	x.close("AccessControlPolicy")
	return x.respond(c)
}

func (a *API) getObjectACL(c *call) (*httpd.Response, error) {
	if _, err := a.Store.Head(c.ctx, c.location()); err != nil {
		return nil, err
	}
	return a.ownerControls(c), nil
}

// getObjectTagging answers that there are no tags, which clients ask for before
// they copy large objects.
func (a *API) getObjectTagging(c *call) (*httpd.Response, error) {
	if _, err := a.Store.Head(c.ctx, c.location()); err != nil {
		return nil, err
	}
	x := newXML()
	x.root("Tagging")
	x.el("TagSet", "")
	x.close("Tagging")
	return x.respond(c), nil
}
