// Package datadir knows what lies at the top of a standalone data directory,
// for the server that writes it and the commands that read it.
package datadir

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// AccessFile holds how to reach the server; only its owner may read it.
const AccessFile = "credentials.json"

// Access is how to reach a server.
type Access struct {
	S3Endpoint    string `json:"s3Endpoint"`
	K2VEndpoint   string `json:"k2vEndpoint,omitempty"`
	Region        string `json:"region"`
	AccessKey     string `json:"accessKey"`
	SecretKey     string `json:"secretKey"`
	Bucket        string `json:"bucket,omitempty"`
	AdminEndpoint string `json:"adminEndpoint"`
	AdminToken    string `json:"adminToken"`
	// CA is a file, from the directory on, with the certificate that the
	// endpoints' are signed by; empty where they are not TLS, or well known.
	CA string `json:"ca,omitempty"`
}

// ReadAccess reads what WriteAccess wrote. The error is os.ErrNotExist (to
// errors.Is) when there is none.
func ReadAccess(dir string) (Access, error) {
	path := filepath.Join(dir, AccessFile)
	b, err := os.ReadFile(path)
	if err != nil {
		return Access{}, err
	}
	var a Access
	if err := json.Unmarshal(b, &a); err != nil {
		return Access{}, fmt.Errorf("%s is damaged: %w", path, err)
	}
	return a, nil
}

// WriteAccess replaces the file atomically and durably, mode 0600.
func WriteAccess(dir string, a Access) error {
	b, err := json.MarshalIndent(a, "", "  ")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, AccessFile+".*") // created with mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // after the rename there is nothing to remove
	if _, err = f.Write(append(b, '\n')); err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", AccessFile, err)
	}
	if err := os.Rename(f.Name(), filepath.Join(dir, AccessFile)); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
