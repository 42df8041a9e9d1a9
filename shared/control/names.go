package control

import (
	"errors"
	"net/netip"
	"regexp"
	"strings"

	"hangar/shared/fault"
)

// What an error is about, where its kind alone does not say. They are wrapped
// in a *fault.Error; test with errors.Is.
var (
	ErrNoSuchBucket      = errors.New("no such bucket")
	ErrNoSuchKey         = errors.New("no such access key")
	ErrNoSuchToken       = errors.New("no such admin token")
	ErrNameTaken         = errors.New("bucket name is taken")
	ErrKeyExists         = errors.New("access key exists")
	ErrInvalidBucketName = errors.New("invalid bucket name")
)

var (
	bucketName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$`)
	keyID      = regexp.MustCompile(`^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$`)
)

// ValidBucketName reports why name may not name a bucket, nil when it may: the
// rules of S3 for general purpose buckets, an address excluded.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
func ValidBucketName(name string) error {
	if why := badBucketName(name); why != "" {
		return fault.Wrap(fault.Invalid, ErrInvalidBucketName, "%s", why)
	}
	return nil
}

func badBucketName(name string) string {
	if len(name) < 3 || len(name) > 63 {
		return "a bucket name has 3 to 63 characters"
	}
	if !bucketName.MatchString(name) {
		return "a bucket name has lower case letters, digits, dots and hyphens, begins and ends each label with a letter or digit, and no two dots in a row"
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return "a bucket name may not look like an IP address"
	}
	for _, p := range []string{"xn--", "sthree-", "amzn-s3-demo-"} {
		if strings.HasPrefix(name, p) {
			return "a bucket name may not begin with " + p
		}
	}
	for _, s := range []string{"-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"} {
		if strings.HasSuffix(name, s) {
			return "a bucket name may not end with " + s
		}
	}
	return ""
}

// ValidKeyID reports why id may not be an access key id, nil when it may.
func ValidKeyID(id string) error {
	if len(id) < 8 || len(id) > 128 || !keyID.MatchString(id) {
		return fault.New(fault.Invalid, "an access key id has 8 to 128 letters, digits, dots, hyphens and underscores; no dot first, last or after a dot")
	}
	return nil
}

// validSecret bounds imported secrets: printable ASCII, so that every client
// can be configured with them.
func validSecret(secret string) error {
	if len(secret) < 8 || len(secret) > 256 {
		return fault.New(fault.Invalid, "a secret key has 8 to 256 characters")
	}
	for i := 0; i < len(secret); i++ {
		if secret[i] <= ' ' || secret[i] > '~' {
			return fault.New(fault.Invalid, "a secret key has printable ASCII characters only")
		}
	}
	return nil
}
