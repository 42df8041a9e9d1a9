package adminclient

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"hangar/services/standalone/internal/datadir"
	"hangar/shared/config"
)

// Access is how to reach a cluster.
type Access struct {
	Endpoint, Token string
	// CA is a file with the certificate that the endpoint's is signed by; empty:
	// one that the system trusts.
	CA string
}

const (
	// DefaultEndpoint is tried when nothing says where the cluster is.
	DefaultEndpoint = "http://127.0.0.1:3903"
	// DefaultDir is looked into when neither endpoint nor token are given.
	DefaultDir = "./data"
)

// Given is what was said on the command line; any of it may be empty.
type Given struct {
	Access
	// Dir is the data directory of a server on this machine.
	Dir string
}

// Find completes what was given from environ (see config.CommandLine) and then
// from a data directory. One that nobody named is only looked into when nothing
// else says where the cluster is or how to be let in: a token is never sent to
// an address that lay about in the current directory.
func Find(g Given, environ []string) (Access, error) {
	var env config.CommandLine
	if err := config.Parse(&env, config.Select(environ, env)); err != nil {
		return Access{}, err
	}
	a := g.Access
	if a.Endpoint == "" {
		a.Endpoint = env.AdminEndpoint
	}
	if a.Token == "" {
		a.Token = env.AdminToken
	}
	dir := g.Dir
	if dir == "" && a.Endpoint == "" && a.Token == "" {
		dir = DefaultDir
	}
	if dir != "" && (a.Endpoint == "" || a.Token == "" || a.CA == "") {
		kept, err := datadir.ReadAccess(dir)
		switch {
		case errors.Is(err, fs.ErrNotExist) && g.Dir != "" && (a.Endpoint == "" || a.Token == ""):
			return a, fmt.Errorf("%s is no data directory of a server that has run here: it holds no %s", dir, datadir.AccessFile)
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return a, err
		}
		if a.Endpoint == "" {
			a.Endpoint = kept.AdminEndpoint
		}
		if a.Token == "" {
			a.Token = kept.AdminToken
		}
		if a.CA == "" && kept.CA != "" {
			a.CA = filepath.Join(dir, kept.CA)
		}
	}
	if a.Endpoint == "" {
		a.Endpoint = DefaultEndpoint
	}
	if !strings.Contains(a.Endpoint, "://") {
		a.Endpoint = "http://" + a.Endpoint
	}
	if a.Token == "" {
		return a, &Error{Status: 401, Message: fmt.Sprintf("no admin token: give --token, set HANGAR_ADMIN_TOKEN or HANGAR_ADMIN_TOKEN_FILE, or name the data directory of a server on this machine with --data (it holds %s)", filepath.Join("DIR", datadir.AccessFile))}
	}
	return a, nil
}
