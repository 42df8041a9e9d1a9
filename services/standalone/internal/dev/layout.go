package dev

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// nominalCapacity of every node: on one disk only the ratios matter.
const nominalCapacity = 1 << 40

// layOut gives the storage nodes their roles and makes key and bucket, once
// all processes have reported to the admin service.
func (o *Options) layOut(ctx context.Context, c *Cluster) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	a := adminClient{endpoint: c.Admin, token: c.AdminToken}
	var nodes []node
	err := poll(ctx, func() error {
		var status struct {
			LayoutVersion int
			Nodes         []node
		}
		if err := a.call(ctx, http.MethodGet, "GetClusterStatus", nil, &status); err != nil {
			return err
		}
		nodes = nodes[:0]
		for _, n := range status.Nodes {
			if n.IsUp && (n.Service == "meta" || n.Service == "blocks") {
				nodes = append(nodes, n)
			}
		}
		if want := o.Meta + o.Blocks; len(nodes) < want {
			return fmt.Errorf("%d of %d storage nodes have reported", len(nodes), want)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("the cluster did not come up: %w (logs are in %s)", err, o.Dir)
	}
	if err := a.applyLayout(ctx, nodes); err != nil {
		return err
	}
	if err := a.makeKey(ctx, c); err != nil {
		return err
	}
	for _, p := range c.Processes {
		if p.Ops == "" {
			continue
		}
		if err := poll(ctx, func() error { return healthy(ctx, p.Ops) }); err != nil {
			return fmt.Errorf("%s: %w", p.Name, err)
		}
	}
	return nil
}

type node struct {
	ID      string
	Service string
	Zone    string
	IsUp    bool
	Role    *struct{ Zone string }
}

// applyLayout assigns every node that has no role yet.
func (a adminClient) applyLayout(ctx context.Context, nodes []node) error {
	var roles []map[string]any
	for _, n := range nodes {
		if n.Role == nil {
			roles = append(roles, map[string]any{"id": n.ID, "zone": n.Zone, "capacity": int64(nominalCapacity), "tags": []string{}})
		}
	}
	if len(roles) == 0 {
		return nil
	}
	var staged struct{ Version int }
	if err := a.call(ctx, http.MethodPost, "UpdateClusterLayout", map[string]any{"roles": roles}, &staged); err != nil {
		return err
	}
	return a.call(ctx, http.MethodPost, "ApplyClusterLayout", map[string]any{"version": staged.Version + 1}, nil)
}

// makeKey imports the cluster's access key and makes the bucket asked for.
func (a adminClient) makeKey(ctx context.Context, c *Cluster) error {
	var keys []struct{ ID string }
	if err := a.call(ctx, http.MethodGet, "ListKeys", nil, &keys); err != nil {
		return err
	}
	for _, k := range keys {
		if k.ID == c.AccessKey {
			return nil
		}
	}
	in := map[string]any{"accessKeyId": c.AccessKey, "secretAccessKey": c.SecretKey, "name": "dev"}
	if err := a.call(ctx, http.MethodPost, "ImportKey", in, nil); err != nil {
		return err
	}
	allow := map[string]any{"allow": map[string]bool{"createBucket": true}}
	if err := a.call(ctx, http.MethodPost, "UpdateKey?id="+c.AccessKey, allow, nil); err != nil {
		return err
	}
	if c.Bucket == "" {
		return nil
	}
	var bucket struct{ ID string }
	if err := a.call(ctx, http.MethodPost, "CreateBucket", map[string]any{"globalAlias": c.Bucket}, &bucket); err != nil {
		return err
	}
	return a.call(ctx, http.MethodPost, "AllowBucketKey", map[string]any{
		"bucketId": bucket.ID, "accessKeyId": c.AccessKey, "permissions": map[string]bool{"read": true, "write": true, "owner": true},
	}, nil)
}

func healthy(ctx context.Context, addr string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/health", nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		b, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10)) // only to explain
		return fmt.Errorf("not healthy: %s", bytes.TrimSpace(b))
	}
	return nil
}

// adminClient calls the Admin API of the cluster being started.
type adminClient struct{ endpoint, token string }

func (a adminClient) call(ctx context.Context, method, op string, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	b, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, a.endpoint+"/v2/"+op, bytes.NewReader(b))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+a.token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s: %s: %s", op, resp.Status, bytes.TrimSpace(answer))
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(answer, out)
}
