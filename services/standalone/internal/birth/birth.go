// Package birth brings a cluster of separate processes to life through its
// Admin API: it gives storage nodes their roles and makes the first key and
// bucket. All of it may be repeated.
package birth

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"hangar/services/standalone/internal/adminclient"
)

// nominalCapacity of every node: where all are alike only the ratios matter.
const nominalCapacity = 1 << 40

// callTimeout bounds one call: the processes are still starting.
const callTimeout = 20 * time.Second

// Cluster is what shall be there.
type Cluster struct {
	// API is the cluster's Admin API.
	API *adminclient.Client
	// Meta and Blocks are how many storage nodes to wait for.
	Meta, Blocks int
	// AccessKey, SecretKey and Bucket to make; with no Bucket none is made.
	AccessKey, SecretKey, Bucket string
}

// Make waits until all storage nodes have reported, gives those their roles
// that have none, by the zone they name, and makes the key and the bucket if
// the key is missing; made reports that. Nodes that have a role keep it.
func Make(ctx context.Context, c Cluster) (made bool, err error) {
	var nodes []node
	err = Poll(ctx, func() (err error) {
		nodes, err = c.reported(ctx)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("the cluster did not come up: %w", err)
	}
	if err := c.applyLayout(ctx, nodes); err != nil {
		return false, err
	}
	return c.makeKey(ctx)
}

// Poll tries f every 50 ms until it succeeds or ctx ends; the error is f's
// last.
func Poll(ctx context.Context, f func() error) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
	}
}

type node struct {
	ID      string
	Service string
	Zone    string
	IsUp    bool
	Role    *struct{ Zone string }
}

func (c Cluster) reported(ctx context.Context) (storage []node, err error) {
	var status struct{ Nodes []node }
	if err := c.call(ctx, get("GetClusterStatus"), &status); err != nil {
		return nil, err
	}
	up := map[string]int{}
	for _, n := range status.Nodes {
		if n.IsUp && (n.Service == "meta" || n.Service == "blocks") {
			storage = append(storage, n)
			up[n.Service]++
		}
	}
	if up["meta"] < c.Meta || up["blocks"] < c.Blocks {
		return nil, fmt.Errorf("of %d metadata and %d block nodes %d and %d have reported", c.Meta, c.Blocks, up["meta"], up["blocks"])
	}
	return storage, nil
}

// applyLayout assigns every node that has no role yet.
func (c Cluster) applyLayout(ctx context.Context, nodes []node) error {
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
	if err := c.call(ctx, post("UpdateClusterLayout", map[string]any{"roles": roles}), &staged); err != nil {
		return err
	}
	return c.call(ctx, post("ApplyClusterLayout", map[string]any{"version": staged.Version + 1}), nil)
}

// makeKey imports the cluster's access key and makes the bucket asked for.
func (c Cluster) makeKey(ctx context.Context) (made bool, err error) {
	var keys []struct{ ID string }
	if err := c.call(ctx, get("ListKeys"), &keys); err != nil {
		return false, err
	}
	for _, k := range keys {
		if k.ID == c.AccessKey {
			return false, nil
		}
	}
	in := map[string]any{"accessKeyId": c.AccessKey, "secretAccessKey": c.SecretKey, "name": "first"}
	if err := c.call(ctx, post("ImportKey", in), nil); err != nil {
		return false, err
	}
	allow := post("UpdateKey", map[string]any{"allow": map[string]bool{"createBucket": true}})
	allow.Query = url.Values{"id": {c.AccessKey}}
	if err := c.call(ctx, allow, nil); err != nil {
		return false, err
	}
	if c.Bucket == "" {
		return true, nil
	}
	var bucket struct{ ID string }
	if err := c.call(ctx, post("CreateBucket", map[string]any{"globalAlias": c.Bucket}), &bucket); err != nil {
		return false, err
	}
	return true, c.call(ctx, post("AllowBucketKey", map[string]any{
		"bucketId": bucket.ID, "accessKeyId": c.AccessKey, "permissions": map[string]bool{"read": true, "write": true, "owner": true},
	}), nil)
}

// call does one operation of the Admin API.
func (c Cluster) call(ctx context.Context, r adminclient.Request, out any) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	a, err := c.API.Call(ctx, r)
	if err != nil {
		return fmt.Errorf("%s: %w", r.Operation, err)
	}
	if out == nil {
		return nil
	}
	return a.Decode(out)
}

func get(op string) adminclient.Request {
	return adminclient.Request{Method: http.MethodGet, Operation: op}
}

func post(op string, in any) adminclient.Request {
	return adminclient.Request{Method: http.MethodPost, Operation: op, Body: in}
}
