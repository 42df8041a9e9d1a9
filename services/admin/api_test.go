package admin_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"hangar/shared/object"
)

func TestHealthFollowsTheLayout(t *testing.T) {
	s := start(t)
	s.token = ""
	s.want(503, "GET", "/health", nil)
	s.token = token
	metaConn, _ := s.join("meta", nil)
	blocksConn, _ := s.join("blocks", nil)
	in := bootInput()
	in.Roles[0].Node, in.Roles[1].Node = metaConn.Node(), blocksConn.Node()
	if _, err := s.svc.Bootstrap(s.ctx(), in); err != nil {
		t.Fatal(err)
	}
	s.token = ""
	limit := s.ctx()
	for s.call("GET", "/health", nil).status != 200 {
		if limit.Err() != nil {
			t.Fatal("never healthy")
		}
		time.Sleep(20 * time.Millisecond) // presence is asked for by polling
	}
	s.token = token
	h := s.want(200, "GET", "/v2/GetClusterHealth", nil).json
	if h["status"] != "healthy" || h["partitions"] != 256.0 || h["partitionsAllOk"] != 256.0 || h["storageNodesOk"] != 2.0 {
		t.Errorf("%v", h)
	}
	st := s.want(200, "GET", "/v2/GetClusterStatus", nil).json
	services := ""
	for _, n := range st["nodes"].([]any) {
		node := n.(m)
		services += fmt.Sprint(node["service"], " ", node["isUp"], " ", node["role"] != nil, "\n")
	}
	if st["layoutVersion"] != 1.0 || services != "admin true false\nblocks true true\nmeta true true\n" {
		t.Errorf("%v\n%s", st["layoutVersion"], services)
	}
	if f := s.want(200, "GET", "/v2/GetClusterStatistics", nil).json["freeform"]; !strings.Contains(f.(string), "Storage nodes: 2 of 2 up") {
		t.Error(f)
	}
}

func TestKeys(t *testing.T) {
	s := start(t)
	s.boot()
	made := s.want(200, "POST", "/v2/CreateKey", m{"name": "ünï", "allow": m{"createBucket": true}}).json
	id := made["accessKeyId"].(string)
	if !strings.HasPrefix(id, "GK") || len(id) != 26 || len(made["secretAccessKey"].(string)) != 64 || made["name"] != "ünï" {
		t.Errorf("%v", made)
	}
	if got := s.want(200, "GET", "/v2/GetKeyInfo?id="+id, nil).json; got["secretAccessKey"] != nil || !got["permissions"].(m)["createBucket"].(bool) {
		t.Errorf("%v", got)
	}
	if got := s.want(200, "GET", "/v2/GetKeyInfo?search="+id[:10]+"&showSecretKey=true", nil).json; got["secretAccessKey"] != made["secretAccessKey"] {
		t.Errorf("%v", got)
	}
	up := s.want(200, "POST", "/v2/UpdateKey?id="+id, m{"name": "renamed", "deny": m{"createBucket": true}, "expiration": "2020-01-01T00:00:00Z"}).json
	if up["name"] != "renamed" || up["permissions"].(m)["createBucket"] != false || up["expired"] != true {
		t.Errorf("%v", up)
	}
	if up = s.want(200, "POST", "/v2/UpdateKey?id="+id, m{"neverExpires": true}).json; up["expired"] != false || up["name"] != "renamed" {
		t.Errorf("%v", up)
	}
	in := m{"accessKeyId": "AKIAIOSFODNN7EXAMPLE", "secretAccessKey": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "name": "imported"}
	s.want(200, "POST", "/v2/ImportKey", in)
	if a := s.want(409, "POST", "/v2/ImportKey", in); a.json["code"] != "KeyAlreadyExists" {
		t.Errorf("%s", a.body)
	}
	for _, bad := range []m{{}, {"accessKeyId": "a.>.bcdefgh", "secretAccessKey": "12345678"}, {"accessKeyId": "validvalid", "secretAccessKey": "ü23456789"}} {
		s.want(400, "POST", "/v2/ImportKey", bad)
	}
	s.want(200, "POST", "/v2/DeleteKey?id="+id, nil)
	for _, gone := range []string{"POST /v2/DeleteKey?id=" + id, "GET /v2/GetKeyInfo?id=" + id, "POST /v2/UpdateKey?id=" + id, "POST /v2/DeleteKey?id=*", "POST /v2/DeleteKey"} {
		method, path, _ := strings.Cut(gone, " ")
		if a := s.want(404, method, path, nil); a.json["code"] != "NoSuchAccessKey" {
			t.Errorf("%s: %s", gone, a.body)
		}
	}
	s.want(400, "GET", "/v2/GetKeyInfo", nil)
}

func TestBuckets(t *testing.T) {
	s := start(t)
	first := s.boot()
	key := first.Key.ID
	made := s.want(200, "POST", "/v2/CreateBucket", m{"globalAlias": "photos", "localAlias": m{"accessKeyId": key, "alias": "mine", "allow": m{"read": true}}}).json
	id := made["id"].(string)
	if len(id) != 32 || made["objects"] != 0.0 || fmt.Sprint(made["globalAliases"]) != "[photos]" {
		t.Errorf("%v", made)
	}
	keys := made["keys"].([]any)[0].(m)
	if keys["accessKeyId"] != key || fmt.Sprint(keys["permissions"]) != "map[owner:false read:true write:false]" || fmt.Sprint(keys["bucketLocalAliases"]) != "[mine]" {
		t.Errorf("%v", keys)
	}
	if a := s.want(409, "POST", "/v2/CreateBucket", m{"globalAlias": "photos"}); a.json["code"] != "BucketAlreadyExists" {
		t.Errorf("%s", a.body)
	}
	if a := s.want(400, "POST", "/v2/CreateBucket", m{"globalAlias": "NO"}); a.json["code"] != "InvalidBucketName" {
		t.Errorf("%s", a.body)
	}
	s.want(400, "POST", "/v2/CreateBucket", m{"globalAlias": ""})
	s.want(409, "POST", "/v2/CreateBucket", m{"localAlias": m{"accessKeyId": key, "alias": "mine"}})

	perm := func(p m) m { return m{"bucketId": id, "accessKeyId": key, "permissions": p} }
	s.want(200, "POST", "/v2/AllowBucketKey", perm(m{"write": true}))
	a := s.want(200, "POST", "/v2/DenyBucketKey", perm(m{"read": true}))
	if got := fmt.Sprint(a.json["keys"].([]any)[0].(m)["permissions"]); got != "map[owner:false read:false write:true]" {
		t.Error(got)
	}
	s.want(404, "POST", "/v2/AllowBucketKey", m{"bucketId": id, "accessKeyId": "GKnobody1", "permissions": m{"read": true}})
	s.want(404, "POST", "/v2/AllowBucketKey", m{"bucketId": object.NewBucketID().String(), "accessKeyId": key, "permissions": m{"read": true}})
	s.want(400, "POST", "/v2/AllowBucketKey", m{"bucketId": "zz", "accessKeyId": key})

	s.want(200, "POST", "/v2/AddBucketAlias", m{"bucketId": id, "globalAlias": "pictures"})
	s.want(409, "POST", "/v2/AddBucketAlias", m{"bucketId": id, "globalAlias": "first"})
	s.want(200, "POST", "/v2/AddBucketAlias", m{"bucketId": id, "localAlias": "own", "accessKeyId": key})
	s.want(400, "POST", "/v2/AddBucketAlias", m{"bucketId": id, "localAlias": "own"})
	if a := s.want(200, "GET", "/v2/GetBucketInfo?globalAlias=pictures", nil); a.json["id"] != id {
		t.Errorf("%s", a.body)
	}
	s.want(200, "POST", "/v2/RemoveBucketAlias", m{"bucketId": id, "globalAlias": "pictures"})
	s.want(404, "POST", "/v2/RemoveBucketAlias", m{"bucketId": id, "globalAlias": "pictures"})
	s.want(200, "POST", "/v2/RemoveBucketAlias", m{"bucketId": id, "localAlias": "own", "accessKeyId": key})
	s.want(404, "GET", "/v2/GetBucketInfo?globalAlias=pictures", nil)
	s.want(200, "GET", "/v2/GetBucketInfo?search=phot", nil)
	s.want(400, "GET", "/v2/GetBucketInfo?search=phot&id="+id, nil)
	if a := s.want(200, "GET", "/v2/ListBuckets", nil); strings.Count(string(a.body), `"id"`) != 2 || !strings.Contains(string(a.body), `"alias":"mine"`) {
		t.Errorf("%s", a.body)
	}
	s.want(200, "POST", "/v2/DeleteBucket?id="+id, nil)
	if a := s.want(404, "POST", "/v2/DeleteBucket?id="+id, nil); a.json["code"] != "NoSuchBucket" {
		t.Errorf("%s", a.body)
	}
	if a := s.want(200, "GET", "/v2/GetKeyInfo?id="+key, nil); strings.Contains(string(a.body), "mine") {
		t.Errorf("a name of the deleted bucket is left: %s", a.body)
	}
}

func TestLayout(t *testing.T) {
	s := start(t)
	in := bootInput()
	in.Roles = nil
	if _, err := s.svc.Bootstrap(s.ctx(), in); err != nil {
		t.Fatal(err)
	}
	if l := s.want(200, "GET", "/v2/GetClusterLayout", nil).json; l["version"] != 0.0 || l["stagedParameters"] != nil || l["parameters"].(m)["zoneRedundancy"] != "maximum" {
		t.Errorf("%v", l)
	}
	role := func(service string) m {
		return m{"id": object.NewNodeID().String(), "zone": "a", "capacity": 1 << 30, "tags": []string{"ssd"}, "service": service}
	}
	meta, blocks := role("meta"), role("blocks")
	s.want(400, "POST", "/v2/UpdateClusterLayout", m{"roles": []m{role("gateway")}})
	s.want(400, "POST", "/v2/UpdateClusterLayout", m{"roles": []m{role("")}})
	staged := s.want(200, "POST", "/v2/UpdateClusterLayout", m{"roles": []m{meta}, "parameters": m{"zoneRedundancy": m{"atLeast": 1}}}).json
	if len(staged["stagedRoleChanges"].([]any)) != 1 || fmt.Sprint(staged["stagedParameters"]) != "map[zoneRedundancy:map[atLeast:1]]" {
		t.Errorf("%v", staged)
	}
	if p := s.want(200, "POST", "/v2/PreviewClusterLayoutChanges", nil).json; !strings.Contains(fmt.Sprint(p["error"]), "blocks") {
		t.Errorf("%v", p)
	}
	s.want(200, "POST", "/v2/UpdateClusterLayout", m{"roles": []m{blocks}})
	if p := s.want(200, "POST", "/v2/PreviewClusterLayoutChanges", nil).json; p["newLayout"].(m)["version"] != 1.0 {
		t.Errorf("%v", p)
	}
	s.want(400, "POST", "/v2/ApplyClusterLayout", m{"version": 2})
	applied := s.want(200, "POST", "/v2/ApplyClusterLayout", m{"version": 1}).json["layout"].(m)
	if applied["version"] != 1.0 || len(applied["stagedRoleChanges"].([]any)) != 0 || applied["partitionSize"] != float64(1<<30/256) {
		t.Errorf("%v", applied)
	}
	if r := applied["roles"].([]any)[0].(m); r["storedPartitions"] != 256.0 || r["usableCapacity"] != float64(1<<30) || r["service"] != "blocks" {
		t.Errorf("%v", r)
	}
	l, _, err := s.store.Layout(s.ctx())
	if err != nil || l.Meta.Epoch != 1 || l.Blocks.Epoch != 1 || len(l.Meta.Assign) != 256 {
		t.Fatalf("%+v %v", l, err)
	}
	// A change that moves nothing is in place at once; one that moves data begins.
	meta["tags"] = []string{"nvme"}
	s.want(200, "POST", "/v2/UpdateClusterLayout", m{"roles": []m{meta}})
	s.want(200, "POST", "/v2/ApplyClusterLayout", m{"version": 2})
	s.want(200, "POST", "/v2/UpdateClusterLayout", m{"roles": []m{role("meta")}})
	if a := s.want(200, "POST", "/v2/RevertClusterLayout", nil); len(a.json["stagedRoleChanges"].([]any)) != 0 {
		t.Errorf("%s", a.body)
	}
	s.want(200, "POST", "/v2/UpdateClusterLayout", m{"roles": []m{role("meta")}})
	s.want(200, "POST", "/v2/ApplyClusterLayout", m{"version": 3})
	if l, _, err := s.store.Layout(s.ctx()); err != nil || l.Version != 3 || !l.Meta.Joint() || l.Meta.Epoch != 2 || l.Blocks.Joint() || l.Change == nil {
		t.Errorf("%+v %v", l, err)
	}
	s.want(200, "POST", "/v2/UpdateClusterLayout", m{"roles": []m{role("meta")}})
	if a := s.want(409, "POST", "/v2/ApplyClusterLayout", m{"version": 4}); !strings.Contains(fmt.Sprint(a.json["message"]), "abort") {
		t.Errorf("%s", a.body)
	}
}

func TestConcurrentCreationOverHTTP(t *testing.T) {
	s := start(t)
	s.boot()
	var wg sync.WaitGroup
	status := make([]int, 12)
	for i := range status {
		wg.Go(func() { status[i] = s.call("POST", "/v2/CreateBucket", m{"globalAlias": "contended"}).status })
	}
	wg.Wait()
	slices.Sort(status)
	if status[0] != 200 || status[1] != 409 || status[11] != 409 {
		t.Errorf("%v", status)
	}
}

func TestBadRequests(t *testing.T) {
	s := start(t)
	s.boot()
	for _, c := range []struct {
		status           int
		method, path, in string
	}{
		{400, "POST", "/v2/CreateKey", `{`},
		{400, "POST", "/v2/CreateKey", `[]`},
		{400, "POST", "/v2/CreateKey", `{"name":"` + strings.Repeat("n", 300) + `"}`},
		{400, "POST", "/v2/CreateKey", `{"allow":{"createBucket":true},"deny":{"createBucket":true}}`},
		{400, "POST", "/v2/UpdateClusterLayout", `{"roles":[{"id":"short"}]}`},
		{400, "POST", "/v2/UpdateClusterLayout", `{"parameters":{"zoneRedundancy":{"atLeast":0}}}`},
		{400, "POST", "/v2/UpdateClusterLayout", `{"parameters":{"zoneRedundancy":"minimum"}}`},
		{400, "POST", "/v2/ApplyClusterLayout", `{}`},
		{413, "POST", "/v2/CreateKey", `"` + strings.Repeat("x", 2<<20) + `"`},
		{405, "GET", "/v2/CreateKey", ``},
		{405, "GET", "/v2/ListWorkers", ``},
		{501, "GET", "/v2/NotAnOperation", ``},
		{400, "POST", "/v2/UpdateBucket?id=x", `{}`},
		{400, "POST", "/v2/UpdateBucket?id=x", `[]`},
		{404, "GET", "/v1/status", ``},
		{404, "GET", "/", ``},
	} {
		req, err := http.NewRequestWithContext(s.ctx(), c.method, s.url+c.path, strings.NewReader(c.in))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			if c.status == 413 {
				continue // the connection may be closed before the answer is read
			}
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != c.status {
			t.Errorf("%s %s: %d, want %d", c.method, c.path, resp.StatusCode, c.status)
		}
	}
}
