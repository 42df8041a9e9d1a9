package k2v

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// Options say where the server is and who asks. Endpoint, Region, Bucket and
// the keys are needed.
type Options struct {
	// Endpoint is the address of the K2V API, such as http://127.0.0.1:3904.
	Endpoint string
	// Region of the cluster, such as hangar.
	Region string
	// Bucket in which everything happens.
	Bucket string
	// AccessKeyID and SecretAccessKey are those of S3.
	AccessKeyID, SecretAccessKey string

	// HTTP does the requests; nil: a client of its own. Redirects are not
	// followed, since a signature is for one address.
	HTTP *http.Client
	// Attempts is how often an operation is tried in all; 0 means 6, which takes
	// some seconds when nothing answers.
	Attempts int
	// Timeout of one attempt, beside the time that a poll waits; 0 means 30
	// seconds.
	Timeout time.Duration
	// MaxResponse is the largest answer, in bytes, that is read into memory; 0
	// means 64 MiB. A longer one is ErrTooLarge; iterators then ask for fewer
	// items at a time.
	MaxResponse int64
	// NonMonotonic allows a read to return less than an earlier one did, which
	// may be faster.
	NonMonotonic bool
	// OnRetry, if set, hears of every attempt that failed and will be repeated.
	// It is called by the goroutine of the operation.
	OnRetry func(Retry)
}

// Retry is an attempt that failed.
type Retry struct {
	// Op is the operation, such as ReadItem.
	Op string
	// Err says why it failed.
	Err error
	// Wait is the pause before the next attempt.
	Wait time.Duration
}

const (
	defaultAttempts    = 6
	defaultTimeout     = 30 * time.Second
	defaultMaxResponse = 64 << 20
)

// Client does operations on one bucket. It is safe for concurrent use.
type Client struct {
	o        Options
	endpoint *url.URL
	http     *http.Client
	signer   *v4.Signer
	keys     aws.Credentials
}

// New returns a client. It does not reach for the server; the error is about
// the options.
func New(o Options) (*Client, error) {
	u, err := url.Parse(o.Endpoint)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("k2v: endpoint %q: want such as http://127.0.0.1:3904", o.Endpoint)
	}
	for name, value := range map[string]string{
		"Region": o.Region, "Bucket": o.Bucket, "AccessKeyID": o.AccessKeyID, "SecretAccessKey": o.SecretAccessKey,
	} {
		if value == "" {
			return nil, fmt.Errorf("k2v: Options.%s is empty", name)
		}
	}
	if o.Attempts <= 0 {
		o.Attempts = defaultAttempts
	}
	if o.Timeout <= 0 {
		o.Timeout = defaultTimeout
	}
	if o.MaxResponse <= 0 {
		o.MaxResponse = defaultMaxResponse
	}
	h := o.HTTP
	if h == nil {
		h = new(http.Client)
		if t, ok := http.DefaultTransport.(*http.Transport); ok {
			t = t.Clone()
			t.MaxIdleConnsPerHost = 32
			h.Transport = t
		}
	}
	own := *h
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &Client{
		o: o, http: &own, signer: v4.NewSigner(),
		endpoint: &url.URL{Scheme: u.Scheme, Host: u.Host, Path: strings.TrimSuffix(u.Path, "/")},
		keys:     aws.Credentials{AccessKeyID: o.AccessKeyID, SecretAccessKey: o.SecretAccessKey},
	}, nil
}

// Bucket is the bucket that the client works on.
func (c *Client) Bucket() string { return c.o.Bucket }
