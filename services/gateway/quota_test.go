package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"

	"hangar/shared/adminapi"
	"hangar/shared/blockapi/blocktest"
	"hangar/shared/control"
	"hangar/shared/metaapi"
	"hangar/shared/metaapi/metatest"
	"hangar/shared/telemetry"
)

// pair is two gateways over one control state and one set of rows.
type pair struct {
	*cluster
	rows    metaapi.ItemRows
	bucket  *control.Bucket
	mirror  *control.Mirror
	store   *control.Store
	clients []*sdk.Client
}

func newPair(t *testing.T) *pair {
	t.Helper()
	c := newCluster(t)
	mirror, err := control.NewMirror(c.conn.NATS(), control.MirrorOptions{Log: slog.New(slog.DiscardHandler)})
	check(t, err)
	run(t, mirror.Run)
	check(t, mirror.WaitSynced(t.Context()))
	store, err := control.OpenStore(t.Context(), c.conn.NATS(), control.StoreOptions{})
	check(t, err)
	p := &pair{cluster: c, rows: metatest.NewItems(), mirror: mirror, store: store, bucket: mirror.View().Alias("photos")}
	blocks := blocktest.NewStore()
	for range 2 {
		tel, err := telemetry.New(t.Context(), telemetry.Config{LogLevel: slog.LevelError}, "gateway", "test")
		check(t, err)
		var cfg Config
		defaults(t, &cfg, "HANGAR_S3_ADDR=127.0.0.1:0", "HANGAR_K2V_ADDR=127.0.0.1:0")
		gw, err := New(cfg, Deps{Rows: p.rows, Blocks: blocks, Buckets: adminapi.NewClient(c.conn), View: mirror.View, Telemetry: tel})
		check(t, err)
		run(t, gw.Run)
		<-gw.Ready()
		p.clients = append(p.clients, c.client("http://"+gw.Addr().String(), http.DefaultClient))
	}
	return p
}

// limit sets the bucket's quota and waits until it is in force.
func (p *pair) limit(t *testing.T, objects, bytes *int64) {
	t.Helper()
	_, rev, err := p.store.UpdateBucket(t.Context(), p.bucket.ID, func(b *control.Bucket) error {
		b.MaxObjects, b.MaxBytes = objects, bytes
		return nil
	})
	check(t, err)
	check(t, p.mirror.WaitRevision(t.Context(), rev))
}

func put(ctx context.Context, c *sdk.Client, key string, size int) error {
	_, err := c.PutObject(ctx, &sdk.PutObjectInput{Bucket: aws.String("photos"), Key: aws.String(key), Body: strings.NewReader(strings.Repeat("x", size))})
	return err
}

func overQuota(err error) bool {
	var api smithy.APIError
	return errors.As(err, &api) && api.ErrorCode() == "QuotaExceeded"
}

// TestQuotaOverTwoGateways: a limit that is set while gateways run holds for both,
// concurrent writers pass it by no more than those of one of them have under way,
// and deletes make room.
func TestQuotaOverTwoGateways(t *testing.T) {
	const limit, writers, size = 40, 4, 1000
	p := newPair(t)
	check(t, put(t.Context(), p.clients[0], "first", size))
	p.limit(t, nil, aws.Int64(limit*size))
	var writing sync.WaitGroup
	for g, c := range p.clients {
		for w := range writers {
			writing.Go(func() {
				for i := 0; ; i++ {
					err := put(t.Context(), c, fmt.Sprintf("%d/%d/%d", g, w, i), size)
					if overQuota(err) {
						return
					}
					if err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
	}
	writing.Wait()
	held, err := p.rows.Counters(t.Context(), metaapi.Objects, p.bucket.ID)
	if err != nil || held.Bytes < limit*size || held.Bytes > (limit+writers)*size {
		t.Fatalf("the bucket holds %+v, %v", held, err)
	}
	for i, c := range p.clients {
		if err := put(t.Context(), c, "one more", 1); !overQuota(err) {
			t.Errorf("gateway %d: %v", i, err)
		}
	}
	p.limit(t, nil, nil)
	check(t, put(t.Context(), p.clients[1], "without a limit", size))
	p.limit(t, aws.Int64(held.Count), nil)
	if err := put(t.Context(), p.clients[0], "one more", 1); !overQuota(err) {
		t.Errorf("with too many already: %v", err)
	}
	check(t, put(t.Context(), p.clients[0], "first", size)) // an overwrite
	for _, key := range []string{"first", "without a limit"} {
		_, err := p.clients[1].DeleteObject(t.Context(), &sdk.DeleteObjectInput{Bucket: aws.String("photos"), Key: aws.String(key)})
		check(t, err)
	}
	check(t, put(t.Context(), p.clients[0], "one more", 1))
}
