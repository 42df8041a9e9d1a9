package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"hangar/services/standalone/internal/datadir"
)

// client calls the Admin API.
type client struct {
	endpoint, token, dir string
	ca                   string // file of the certificate to trust; empty: the system's
	json                 bool
}

const callTimeout = 2 * time.Minute

// resolve fills in what no flag gave, from the environment and then from the
// data directory of a local server.
func (c *client) resolve() error {
	if c.endpoint == "" {
		c.endpoint = os.Getenv("HANGAR_ADMIN_ENDPOINT")
	}
	if c.token == "" {
		c.token = os.Getenv("HANGAR_ADMIN_TOKEN")
	}
	if c.dir != "" {
		access, err := datadir.ReadAccess(c.dir)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if c.endpoint == "" {
			c.endpoint = access.AdminEndpoint
		}
		if c.token == "" {
			c.token = access.AdminToken
		}
		if c.ca == "" && access.CA != "" {
			c.ca = filepath.Join(c.dir, access.CA)
		}
	}
	if c.endpoint == "" {
		c.endpoint = "http://127.0.0.1:3903"
	}
	if !strings.Contains(c.endpoint, "://") {
		c.endpoint = "http://" + c.endpoint
	}
	if c.token == "" {
		return fmt.Errorf("no admin token: give --token, set HANGAR_ADMIN_TOKEN, or name the data directory of a local server with --data (it holds %s)", filepath.Join("DIR", datadir.AccessFile))
	}
	return nil
}

// call does one Admin API operation. in and out may be nil.
func (c *client) call(ctx context.Context, method, op string, query url.Values, in, out any) error {
	if err := c.resolve(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	address := strings.TrimSuffix(c.endpoint, "/") + "/v2/" + op
	if len(query) > 0 {
		address += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, address, body)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	client, err := datadir.Client(c.ca)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("cannot reach the Admin API at %s: %w", c.endpoint, err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	if resp.StatusCode/100 != 2 {
		return apiError(op, resp.StatusCode, answer)
	}
	if out == nil || len(answer) == 0 {
		return nil
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("%s: the answer is not what this version expects: %w", op, err)
	}
	return nil
}

func (c *client) get(ctx context.Context, op string, query url.Values, out any) error {
	return c.call(ctx, http.MethodGet, op, query, nil, out)
}

func (c *client) post(ctx context.Context, op string, query url.Values, in, out any) error {
	return c.call(ctx, http.MethodPost, op, query, in, out)
}

// apiError turns an error answer into one readable line.
func apiError(op string, status int, body []byte) error {
	var e struct{ Code, Message string }
	if json.Unmarshal(body, &e) == nil && e.Message != "" {
		return fmt.Errorf("%s: %s", op, e.Message)
	}
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Errorf("%s: the admin token was refused", op)
	default:
		return fmt.Errorf("%s: status %d: %s", op, status, bytes.TrimSpace(body))
	}
}
