package items

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"hangar/client/k2v"
	"hangar/services/standalone/internal/adminclient"
	"hangar/services/standalone/internal/datadir"
	"hangar/shared/config"
)

const (
	defaultEndpoint = "http://127.0.0.1:3904"
	defaultRegion   = "hangar"
)

// access is how to reach K2V, as far as somebody says it.
type access struct {
	endpoint, region, keyID, secret string
	// ca is a file with the certificate that the endpoint's is signed by; empty:
	// one that the system trusts.
	ca string
}

// or completes a from b. A key and its secret come from the same place.
func (a access) or(b access) access {
	if a.endpoint == "" {
		a.endpoint = b.endpoint
	}
	if a.region == "" {
		a.region = b.region
	}
	if a.keyID == "" && a.secret == "" {
		a.keyID, a.secret = b.keyID, b.secret
	}
	if a.ca == "" {
		a.ca = b.ca
	}
	return a
}

// find completes what flags say from dir, the data directory of a server, if one
// is named, and from environ. If neither says anything it looks into
// adminclient.DefaultDir.
func (a access) find(dir, ca string, environ []string) (access, error) {
	a.ca = ca
	if dir != "" {
		kept, err := inDir(dir)
		if errors.Is(err, fs.ErrNotExist) {
			return a, fmt.Errorf("%s is no data directory of a server that has run here: it holds no %s", dir, datadir.AccessFile)
		}
		if err != nil {
			return a, err
		}
		a = a.or(kept)
	}
	env, err := inEnvironment(environ)
	if err != nil {
		return a, err
	}
	a = a.or(env)
	if dir == "" && a.endpoint == "" && a.keyID == "" && a.secret == "" {
		kept, err := inDir(adminclient.DefaultDir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return a, err
		}
		a = a.or(kept)
	}
	a = a.or(access{endpoint: defaultEndpoint, region: defaultRegion})
	if !strings.Contains(a.endpoint, "://") {
		a.endpoint = "http://" + a.endpoint
	}
	switch {
	case a.keyID == "" && a.secret == "":
		return a, hint{"no S3 key: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name the data directory of a server on this machine with --data; hangar key create NAME makes a key, and hangar bucket allow BUCKET NAME --read --write lets it use a bucket", k2v.ErrDenied}
	case a.keyID == "" || a.secret == "":
		return a, wrong("half of an S3 key is given: both the access key and the secret key are needed, by flags or by variables")
	}
	return a, nil
}

func inDir(dir string) (access, error) {
	kept, err := datadir.ReadAccess(dir)
	if err != nil {
		return access{}, err
	}
	a := access{endpoint: kept.K2VEndpoint, region: kept.Region, keyID: kept.AccessKey, secret: kept.SecretKey}
	if kept.CA != "" {
		a.ca = filepath.Join(dir, kept.CA)
	}
	return a, nil
}

func inEnvironment(environ []string) (access, error) {
	var env config.CommandLine
	if err := config.Parse(&env, config.Select(environ, env)); err != nil {
		return access{}, err
	}
	vars := map[string]string{}
	for _, e := range environ {
		name, value, _ := strings.Cut(e, "=")
		vars[name] = value
	}
	a := access{endpoint: env.K2VEndpoint, region: vars["AWS_REGION"], keyID: vars["AWS_ACCESS_KEY_ID"], secret: vars["AWS_SECRET_ACCESS_KEY"]}
	return a.or(access{region: vars["AWS_DEFAULT_REGION"]}), nil
}

// http is a client that trusts ca.
func (a access) http() (*http.Client, error) {
	if a.ca == "" {
		return nil, nil // that of the package
	}
	b, err := os.ReadFile(a.ca)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("%s holds no certificate", a.ca)
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	return &http.Client{Transport: t}, nil
}
