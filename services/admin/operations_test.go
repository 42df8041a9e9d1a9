package admin_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"hangar/shared/causal"
	"hangar/shared/metaapi"
	"hangar/shared/object"
	"hangar/shared/record"
)

// Every operation is called, and answers as the document says.
func TestEveryOperationAnswersAsDocumented(t *testing.T) {
	c := readContract(t)
	s := start(t)
	metaID, blocksID := s.operatedStorage(newOperated("gc"), newOperated("scrub-tranquility"))
	do := func(status int, name, query string, in any) answer {
		t.Helper()
		o, ok := c.operations[name]
		if !ok {
			t.Fatalf("the document has no operation %s", name)
		}
		a := s.want(status, o.method, o.path+query, in)
		c.check(o, a)
		return a
	}
	all, self := "?node="+url.QueryEscape("*"), "?node=self"
	walkCluster(do, metaID)
	walkKeysAndBuckets(t, s, do)
	walkTokens(t, s, do)

	a := do(200, "GetNodeInfo", all, nil)
	if len(a.json["success"].(m)) != 3 || len(a.json["error"].(m)) != 0 {
		t.Errorf("%s", a.body)
	}
	do(200, "GetNodeInfo", self, nil)
	do(200, "GetNodeInfo", "?node="+object.NewNodeID().String(), nil)
	do(400, "GetNodeInfo", "?node=x", nil)
	do(400, "GetNodeInfo", "", nil)
	a = do(200, "GetNodeStatistics", all, nil)
	n, _ := a.multi(blocksID)
	if b := n.(m)["blockManagerStats"].(m); !strings.Contains(n.(m)["freeform"].(string), "resync: idle, 5 queued, 5 failed") ||
		b["rcEntries"] != 4.0 || b["resyncQueueLen"] != 5.0 || b["resyncErrors"] != 2.0 || n.(m)["blocks"].(m)["liveBytes"] != 44.0 {
		t.Errorf("%s", a.body)
	}
	n, _ = a.multi(metaID)
	if o := n.(m)["tableStats"].([]any)[0].(m); o["tableName"] != "objects" || o["items"] != 7.0 || o["bytes"] != 8.0 || o["gcQueueLen"] != 9.0 || o["merkleItems"] != 16.0 {
		t.Errorf("%s", a.body)
	}
	a = do(200, "GetClusterStatistics", "", nil)
	if a.json["blockBytes"] != 44.0 || a.json["nodesNotCounted"] != 0.0 || a.json["tableStats"].([]any)[0].(m)["items"] != 7.0 {
		t.Errorf("%s", a.body)
	}
	walkWorkers(t, do, all, metaID, blocksID)
	walkBlocks(t, do, all, blocksID)

	do(200, "Health", "", nil)
	do(200, "Metrics", "", nil)
	for _, name := range c.names() {
		if !c.answered[name] {
			t.Errorf("%s was not called, or never answered well", name)
		}
	}
}

type doing func(status int, name, query string, in any) answer

func walkCluster(do doing, metaID object.NodeID) {
	do(200, "GetClusterHealth", "", nil)
	do(200, "GetClusterStatus", "", nil)
	do(200, "GetClusterStatistics", "", nil)
	do(200, "ConnectClusterNodes", "", []string{metaID.String() + "@10.0.0.1:3901", "nonsense"})
	do(200, "GetClusterLayout", "", nil)
	do(200, "GetClusterLayoutHistory", "", nil)
	role := m{"id": object.NewNodeID().String(), "service": "meta", "zone": "b", "capacity": 1 << 30, "tags": []string{"t"}}
	do(200, "UpdateClusterLayout", "", m{"roles": []m{role}, "parameters": m{"zoneRedundancy": m{"atLeast": 1}}})
	do(200, "PreviewClusterLayoutChanges", "", nil)
	do(200, "RevertClusterLayout", "", nil)
	do(200, "PreviewClusterLayoutChanges", "", nil) // nothing staged: an error in the answer
	do(200, "UpdateClusterLayout", "", m{"roles": []m{role}})
	do(400, "ApplyClusterLayout", "", m{})
	do(400, "ApplyClusterLayout", "", m{"version": 99})
	do(200, "ApplyClusterLayout", "", m{"version": 2})
	do(200, "GetClusterStatus", "", nil)
	do(200, "ClusterLayoutSkipDeadNodes", "", m{"version": 2, "allowMissingData": false})
	do(200, "AbortClusterLayoutChange", "", m{"version": 2})
	do(200, "GetClusterLayoutHistory", "", nil)
}

func walkKeysAndBuckets(t *testing.T, s *site, do doing) {
	key := do(200, "CreateKey", "", m{"name": "k", "expiration": time.Now().Add(time.Hour)}).json["accessKeyId"].(string)
	do(200, "ImportKey", "", m{"accessKeyId": "GKimported1", "secretAccessKey": "12345678"})
	do(200, "ListKeys", "", nil)
	do(200, "GetKeyInfo", "?showSecretKey=true&id="+key, nil)
	do(200, "UpdateKey", "?id="+key, m{"allow": m{"createBucket": true}, "neverExpires": true})
	do(404, "UpdateKey", "?id=GKnobody00", m{})

	id := do(200, "CreateBucket", "", m{"globalAlias": "www.example.org", "localAlias": m{"accessKeyId": key, "alias": "mine"}}).json["id"].(string)
	do(200, "ListBuckets", "", nil)
	do(400, "CheckDomain", "?domain=www.example.org", nil)
	a := do(200, "UpdateBucket", "?id="+id, m{
		"websiteAccess": m{"enabled": true, "indexDocument": "index.html", "errorDocument": "error.html"},
		"quotas":        m{"maxSize": 1 << 40, "maxObjects": nil},
	})
	if a.json["websiteAccess"] != true || a.json["quotas"].(m)["maxSize"] != float64(1<<40) {
		t.Errorf("%s", a.body)
	}
	do(200, "CheckDomain", "?domain=www.example.org", nil)
	a = do(200, "UpdateBucket", "?id="+id, m{"websiteAccess": m{"enabled": false}, "quotas": nil})
	if a.json["websiteAccess"] != false || a.json["websiteConfig"] != nil || a.json["quotas"].(m)["maxSize"] != float64(1<<40) {
		t.Errorf("%s", a.body)
	}
	for _, bad := range []m{
		{"websiteAccess": m{}}, {"websiteAccess": m{"enabled": true}}, {"websiteAccess": m{"enabled": false, "indexDocument": "x"}},
		{"websiteAccess": m{"enabled": true, "indexDocument": "a/b"}}, {"quotas": m{"maxSize": -1}}, {"quotas": 3},
	} {
		do(400, "UpdateBucket", "?id="+id, bad)
	}
	do(501, "UpdateBucket", "?id="+id, m{"corsRules": []m{{"AllowedOrigin": []string{"*"}}}})
	do(404, "UpdateBucket", "?id="+object.NewBucketID().String(), m{})

	do(200, "AllowBucketKey", "", m{"bucketId": id, "accessKeyId": key, "permissions": m{"read": true, "owner": true}})
	do(200, "DenyBucketKey", "", m{"bucketId": id, "accessKeyId": key, "permissions": m{"owner": true}})
	do(200, "AddBucketAlias", "", m{"bucketId": id, "globalAlias": "other"})
	do(200, "RemoveBucketAlias", "", m{"bucketId": id, "globalAlias": "other"})
	do(200, "GetBucketInfo", "?globalAlias=www.example.org", nil)
	do(400, "GetBucketInfo", "?id=", nil)
	walkObjects(t, s, do, id)
	do(200, "DeleteBucket", "?id="+id, nil)
	do(200, "DeleteKey", "?id="+key, nil)
}

// walkObjects looks at an object and at uploads, and throws the old ones away.
func walkObjects(t *testing.T, s *site, do doing, id string) {
	bucket, err := object.ParseBucketID(id)
	if err != nil {
		t.Fatal(err)
	}
	const key = "a key+with/ünï"
	put := func(k metaapi.RowKey, head, body []byte) {
		t.Helper()
		if _, err := s.rows.Put(s.ctx(), k, &metaapi.Value{Head: head, Body: body, Count: 1, Bytes: 3}); err != nil {
			t.Fatal(err)
		}
	}
	hash := strings.Repeat("\x01", 32)
	version := object.VersionID{1}
	manifest := record.Manifest{ID: record.NewManifestID(version, 0), Size: 3 << 19, BlockBytes: 1 << 20, PageBlocks: 100}
	head := record.ObjectHead{Version: version, Size: 3 << 19, Modified: time.Now(), Blocks: true}
	put(record.ObjectKey(bucket, key), head.Append(nil), record.ObjectBody{
		Metadata: record.Metadata{ContentType: "text/plain", User: map[string]string{"a": "b"}},
		Kind:     record.Listed, Manifest: manifest, Hashes: record.Hashes(hash + hash),
	}.Append(nil, record.NoChecksum))
	fresh, old := object.VersionID{2}, object.VersionID{3}
	for upload, began := range map[object.VersionID]time.Time{fresh: time.Now(), old: time.Now().Add(-48 * time.Hour)} {
		put(record.UploadKey(bucket, key, upload), record.UploadHead{Started: began}.Append(nil), record.AppendUploadBody(nil, record.Metadata{}))
		part := record.Manifest{ID: record.NewManifestID(upload, 1), Size: 5, BlockBytes: 1 << 20, PageBlocks: 100}
		put(record.PartKey(bucket, key, upload, 1), record.PartHead{Manifest: part, Blocks: true, Modified: began}.Append(nil), nil)
		put(record.ManifestKey(bucket, part.ID, 0), record.ManifestHead{Key: key, Version: upload, Part: 1, Written: began}.Append(nil), record.Page{Hashes: record.Hashes(hash)}.Append(nil))
	}
	itemKey := metaapi.RowKey{Table: metaapi.Items, Bucket: bucket, Key: "room", Sub: "a"}
	item := record.EncodeItem(causal.Set{{Node: 1, Dots: []causal.Dot{{Time: 1, Value: causal.Value{Data: []byte("value")}}}}})
	if _, err := s.rows.Put(s.ctx(), itemKey, item); err != nil {
		t.Fatal(err)
	}
	at := "?bucketId=" + id + "&key=" + url.QueryEscape(key)
	a := do(200, "InspectObject", at, nil)
	versions := a.json["versions"].([]any)
	whole := versions[0].(m)
	if len(versions) != 3 || len(whole["blocks"].([]any)) != 2 || fmt.Sprint(whole["headers"]) != "[[content-type text/plain] [x-amz-meta-a b]]" {
		t.Errorf("%s", a.body)
	}
	if last := whole["blocks"].([]any)[1].(m); last["offset"] != float64(1<<20) || last["size"] != float64(1<<19) {
		t.Errorf("%v", last)
	}
	if e := do(404, "InspectObject", "?bucketId="+id+"&key=none", nil); e.json["code"] != "NoSuchKey" {
		t.Errorf("%s", e.body)
	}
	info := do(200, "GetBucketInfo", "?id="+id, nil).json
	if info["unfinishedMultipartUploads"] != 2.0 || info["unfinishedMultipartUploadParts"] != 2.0 || info["unfinishedMultipartUploadBytes"] != 6.0 || info["objects"] != 1.0 || info["k2vItems"] != 1.0 || info["k2vBytes"] != 5.0 {
		t.Errorf("%v", info)
	}
	do(400, "CleanupIncompleteUploads", "", m{"bucketId": id})
	if a := do(200, "CleanupIncompleteUploads", "", m{"bucketId": id, "olderThanSecs": 24 * 3600}); a.json["uploadsDeleted"] != 1.0 {
		t.Errorf("%s", a.body)
	}
	if left, err := s.rows.Get(s.ctx(), record.PartKey(bucket, key, old, 1)); err != nil || left.Value != nil {
		t.Errorf("the part of the old upload is still there: %v", err)
	}
	if a := do(200, "CleanupIncompleteUploads", "", m{"bucketId": id, "olderThanSecs": 0}); a.json["uploadsDeleted"] != 1.0 {
		t.Errorf("%s", a.body)
	}
	do(409, "DeleteBucket", "?id="+id, nil)
	if _, err := s.rows.Put(s.ctx(), record.ObjectKey(bucket, key), nil); err != nil {
		t.Fatal(err)
	}
	do(409, "DeleteBucket", "?id="+id, nil)
	if _, err := s.rows.Put(s.ctx(), itemKey, nil); err != nil {
		t.Fatal(err)
	}
}

func walkTokens(t *testing.T, s *site, do doing) {
	made := do(200, "CreateAdminToken", "", m{"name": "ci", "scope": []string{"ListKeys", "GetCurrentAdminTokenInfo"}, "expiration": "2100-01-01T00:00:00Z"}).json
	id := made["id"].(string)
	do(400, "CreateAdminToken", "", m{"scope": []string{"ListKeyz"}})
	do(200, "GetAdminTokenInfo", "?id="+id, nil)
	do(200, "GetAdminTokenInfo", "?search=ci", nil)
	a := do(200, "ListAdminTokens", "", nil)
	if n := strings.Count(string(a.body), `"id":null`); n != 2 || strings.Contains(string(a.body), token) || strings.Contains(string(a.body), "metrics-token") {
		t.Errorf("%s", a.body)
	}
	s.token = made["secretToken"].(string)
	if a := do(200, "GetCurrentAdminTokenInfo", "", nil); a.json["id"] != id || a.json["secretToken"] != nil {
		t.Errorf("%s", a.body)
	}
	s.token = token
	if a := do(200, "GetCurrentAdminTokenInfo", "", nil); a.json["id"] != nil {
		t.Errorf("%s", a.body)
	}
	if up := do(200, "UpdateAdminToken", "?id="+id, m{"neverExpires": true, "scope": []string{"*"}}).json; up["expiration"] != nil || up["name"] != "ci" {
		t.Errorf("%v", up)
	}
	do(200, "DeleteAdminToken", "?id="+id, nil)
	for _, name := range []string{"DeleteAdminToken", "UpdateAdminToken", "GetAdminTokenInfo"} {
		if a := do(404, name, "?id="+id, nil); a.json["code"] != "NoSuchAdminToken" {
			t.Errorf("%s: %s", name, a.body)
		}
	}
}

func walkWorkers(t *testing.T, do doing, all string, metaID, blocksID object.NodeID) {
	do(200, "ListWorkers", all, m{})
	a := do(200, "ListWorkers", "?node="+blocksID.String(), m{"busyOnly": true})
	if list, _ := a.multi(blocksID); fmt.Sprint(list.([]any)[0].(m)["state"]) != "map[throttled:map[durationSecs:1.5]]" || len(list.([]any)) != 2 {
		t.Errorf("%s", a.body)
	}
	a = do(200, "ListWorkers", "?node="+blocksID.String(), m{"errorOnly": true})
	if list, _ := a.multi(blocksID); len(list.([]any)) != 1 {
		t.Errorf("%s", a.body)
	}
	do(200, "GetWorkerInfo", "?node=self", m{"id": 1})
	if _, why := do(200, "GetWorkerInfo", "?node="+metaID.String(), m{"id": 99}).multi(metaID); why == "" {
		t.Error("a worker that is not there was found")
	}
	do(400, "GetWorkerInfo", all, m{})
	do(200, "GetWorkerVariable", all, m{})
	if a := do(200, "SetWorkerVariable", all, m{"variable": "gc", "value": "7"}); len(a.json["error"].(m)) != 0 {
		t.Errorf("nodes without the variable are not left out: %s", a.body)
	}
	if v, _ := do(200, "GetWorkerVariable", "?node="+metaID.String(), m{"variable": "gc"}).multi(metaID); v.(m)["gc"] != "7" {
		t.Error(v)
	}
	do(200, "CreateMetadataSnapshot", all, nil)
	a = do(200, "LaunchRepairOperation", all, m{"repairType": m{"scrub": "start"}})
	if _, ok := a.json["success"].(m)[blocksID.String()]; !ok || len(a.json["error"].(m)) != 0 {
		t.Errorf("%s", a.body)
	}
	a = do(200, "LaunchRepairOperation", all, m{"repairType": "tables"})
	if len(a.json["success"].(m)) != 0 || len(a.json["error"].(m)) != 3 {
		t.Errorf("a repair that no node has is not reported: %s", a.body)
	}
	if a = do(200, "LaunchRepairOperation", all, m{"repairType": "aliases"}); len(a.json["success"].(m)) != 1 {
		t.Errorf("%s", a.body)
	}
	for _, bad := range []any{m{}, m{"repairType": "nonsense"}, m{"repairType": m{"scrub": "nonsense"}}, m{"repairType": 4}} {
		do(400, "LaunchRepairOperation", all, bad)
	}
}

func walkBlocks(t *testing.T, do doing, all string, blocksID object.NodeID) {
	hash := object.Hash{1}.String()
	do(200, "ListBlockErrors", all, nil)
	a := do(200, "GetBlockInfo", all, m{"blockHash": hash})
	if info, _ := a.multi(blocksID); info.(m)["refcount"] != 2.0 {
		t.Errorf("%s", a.body)
	}
	do(200, "GetBlockInfo", all, m{"blockHash": object.Hash{}.String()})
	do(400, "GetBlockInfo", all, m{"blockHash": "zz"})
	if a := do(200, "RetryBlockResync", all, m{"all": true}); fmt.Sprint(a.json["success"].(m)[blocksID.String()]) != "map[count:1000]" {
		t.Errorf("%s", a.body)
	}
	do(200, "RetryBlockResync", all, m{"blockHashes": []string{hash}})
	// An empty list must not mean all.
	for _, bad := range []m{{}, {"blockHashes": []string{}}, {"all": false}, {"all": true, "blockHashes": []string{hash}}, {"blockHashes": []string{"x"}}} {
		do(400, "RetryBlockResync", all, bad)
	}
	do(200, "PurgeBlocks", all, []string{hash})
	do(400, "PurgeBlocks", all, []string{})
	if _, why := do(200, "PurgeBlocks", "?node=self", []string{hash}).multi(object.NodeID{}); why != "" {
		t.Error(why)
	}
}
