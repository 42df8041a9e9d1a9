package admin_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"hangar/shared/object"
)

// Two administrators at two admin servers change the same records at once:
// everything that was answered with success is there.
func TestConcurrentAdministratorsLoseNothing(t *testing.T) {
	one := start(t)
	first := one.boot()
	two := *one
	two.url = one.another()
	key := first.Key.ID
	bucket := one.want(200, "GET", "/v2/GetBucketInfo?globalAlias=first", nil).json["id"].(string)
	const rounds = 5
	var keys []string
	for i := range 2 * rounds {
		keys = append(keys, one.want(200, "POST", "/v2/CreateKey", m{"name": fmt.Sprint("k", i)}).json["accessKeyId"].(string))
	}
	var wg sync.WaitGroup
	for n, s := range []*site{one, &two} {
		wg.Go(func() {
			for i := range rounds {
				// Each has fields of its own in the records that both change.
				if n == 0 {
					s.want(200, "POST", "/v2/UpdateBucket?id="+bucket, m{"quotas": m{"maxSize": 1000 + i}})
					s.want(200, "POST", "/v2/UpdateKey?id="+key, m{"name": fmt.Sprint("name-", i)})
				} else {
					s.want(200, "POST", "/v2/UpdateBucket?id="+bucket, m{"websiteAccess": m{"enabled": true, "indexDocument": fmt.Sprint("index-", i)}})
					s.want(200, "POST", "/v2/UpdateKey?id="+key, m{"expiration": fmt.Sprintf("21%02d-01-01T00:00:00Z", i)})
				}
				s.want(200, "POST", "/v2/AllowBucketKey", m{"bucketId": bucket, "accessKeyId": keys[n*rounds+i], "permissions": m{"read": true}})
			}
		})
	}
	wg.Wait()
	for _, s := range []*site{one, &two} {
		b := s.want(200, "GET", "/v2/GetBucketInfo?id="+bucket, nil).json
		if b["quotas"].(m)["maxSize"] != 1000.0+rounds-1 || b["websiteConfig"].(m)["indexDocument"] != fmt.Sprint("index-", rounds-1) {
			t.Errorf("a change of the bucket was lost: %v", b)
		}
		allowed := 0
		for _, k := range b["keys"].([]any) {
			if k.(m)["permissions"].(m)["read"] == true && k.(m)["accessKeyId"] != key {
				allowed++
			}
		}
		if allowed != 2*rounds {
			t.Errorf("%d of %d permissions are there", allowed, 2*rounds)
		}
		k := s.want(200, "GET", "/v2/GetKeyInfo?id="+key, nil).json
		if k["name"] != fmt.Sprint("name-", rounds-1) || k["expiration"] != fmt.Sprintf("21%02d-01-01T00:00:00Z", rounds-1) {
			t.Errorf("a change of the key was lost: %v", k)
		}
	}
}

// A version of the layout can be applied once: of two who saw the same one, the
// second is told.
func TestLayoutVersionsConflict(t *testing.T) {
	one := start(t)
	one.boot()
	two := *one
	two.url = one.another()
	role := m{"id": object.NewNodeID().String(), "service": "meta", "zone": "b", "capacity": 1 << 30, "tags": []string{}}
	one.want(200, "POST", "/v2/UpdateClusterLayout", m{"roles": []m{role}})
	var wg sync.WaitGroup
	statuses := make([]int, 2)
	for i, s := range []*site{one, &two} {
		wg.Go(func() { statuses[i] = s.call("POST", "/v2/ApplyClusterLayout", m{"version": 2}).status })
	}
	wg.Wait()
	if won := statuses[0] == 200; won == (statuses[1] == 200) || statuses[0]+statuses[1] < 600 {
		t.Errorf("%v: exactly one must succeed, the other be told", statuses)
	}
}

// One node that does not answer keeps nobody from the answers of the others.
func TestANodeThatDoesNotAnswerIsNamed(t *testing.T) {
	s := start(t)
	silent := newOperated("gc")
	silent.silent = make(chan struct{})
	defer close(silent.silent)
	metaID, blocksID := s.operatedStorage(silent, newOperated("x"))
	began := time.Now()
	a := s.want(200, "POST", "/v2/ListWorkers?node=*", m{})
	if _, why := a.multi(metaID); why == "" {
		t.Errorf("%s", a.body)
	}
	if list, why := a.multi(blocksID); list == nil || why != "" {
		t.Errorf("%s", a.body)
	}
	t.Logf("answered after %v", time.Since(began))
}
