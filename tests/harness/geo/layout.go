package geo

import (
	"context"
	"fmt"
	"net/http"

	"hangar/tests/harness"
)

// nominalCapacity of every node: on one disk only the ratios matter.
const nominalCapacity = 1 << 40

// layOut gives the storage nodes their roles and makes key and bucket.
func (c *Cluster) layOut(o *Options) {
	c.t.Helper()
	want := (o.Meta + o.Blocks) * o.Zones
	var roles []map[string]any
	c.await("the nodes do not report", func(ctx context.Context) error {
		for _, p := range c.Processes {
			if !p.Running() {
				c.t.Fatalf("%s ended:\n%s", p.Name, p.Output())
			}
		}
		var status struct {
			Nodes []struct {
				ID, Service, Zone string
				IsUp              bool
			}
		}
		if err := c.Admin(ctx, http.MethodGet, "/v2/GetClusterStatus", nil, &status); err != nil {
			return err
		}
		roles = roles[:0]
		for _, n := range status.Nodes {
			if n.IsUp && (n.Service == "meta" || n.Service == "blocks") {
				roles = append(roles, map[string]any{"id": n.ID, "zone": n.Zone, "capacity": int64(nominalCapacity), "tags": []string{}})
			}
		}
		if len(roles) < want {
			return fmt.Errorf("%d of %d storage nodes have reported", len(roles), want)
		}
		return nil
	})
	call := func(op string, in, out any) {
		c.t.Helper()
		if err := c.Admin(c.t.Context(), http.MethodPost, "/v2/"+op, in, out); err != nil {
			c.t.Fatal(err)
		}
	}
	var staged struct{ Version int }
	call("UpdateClusterLayout", map[string]any{"roles": roles}, &staged)
	call("ApplyClusterLayout", map[string]any{"version": staged.Version + 1}, nil)
	call("ImportKey", map[string]any{"accessKeyId": harness.AccessKey, "secretAccessKey": harness.SecretKey, "name": "test"}, nil)
	call("UpdateKey?id="+harness.AccessKey, map[string]any{"allow": map[string]bool{"createBucket": true}}, nil)
	var bucket struct{ ID string }
	call("CreateBucket", map[string]any{"globalAlias": harness.Bucket}, &bucket)
	call("AllowBucketKey", map[string]any{
		"bucketId": bucket.ID, "accessKeyId": harness.AccessKey, "permissions": map[string]bool{"read": true, "write": true, "owner": true},
	}, nil)
}
