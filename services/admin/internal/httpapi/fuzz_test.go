package httpapi_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"hangar/services/admin/internal/httpapi"
	"hangar/services/admin/internal/ops"
	"hangar/shared/control"
	"hangar/shared/metaapi/metatest"
	"hangar/shared/natsd"
	"hangar/shared/object"
	"hangar/shared/rpc"
)

// serve runs the API on a real control store and returns its address.
func serve(f testing.TB) string {
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	srv, err := natsd.Start(natsd.Options{Dir: f.TempDir(), Logger: log})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(srv.Shutdown)
	ctx, stop := context.WithCancel(context.Background())
	conn, err := rpc.Connect(ctx, rpc.Options{InProcess: srv.InProcess(), Node: object.NewNodeID(), Logger: log})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(conn.Close)
	store, err := control.OpenStore(ctx, conn.NATS(), control.StoreOptions{})
	if err != nil {
		f.Fatal(err)
	}
	mirror, err := control.NewMirror(conn.NATS(), control.MirrorOptions{Log: log})
	if err != nil {
		f.Fatal(err)
	}
	api := httpapi.New(httpapi.Options{
		Ops: ops.New(ops.Options{Store: store, Mirror: mirror, Rows: metatest.NewRows(), Log: log}), AdminToken: "t", Log: log,
	})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.Fatal(err)
	}
	done := make(chan error, 2)
	go func() { done <- mirror.Run(ctx) }()
	go func() { done <- api.Serve(ctx, ln) }()
	f.Cleanup(func() {
		stop()
		for range 2 {
			if err := <-done; err != nil {
				f.Error(err)
			}
		}
	})
	if err := mirror.WaitSynced(ctx); err != nil {
		f.Fatal(err)
	}
	return ln.Addr().String()
}

// Whatever a holder of the token sends, the answer is never an internal error,
// and errors have their shape.
func FuzzRequests(f *testing.F) {
	id := object.NewBucketID().String()
	for _, s := range []string{
		"CreateKey\n{\"name\":\"x\"}", "ImportKey\n{\"accessKeyId\":\"a.b.cdefgh\",\"secretAccessKey\":\"12345678\"}",
		"UpdateKey?id=*\n{}", "DeleteKey?id=a%00b\n", "DeleteBucket?id=" + id + "\n", "CreateBucket\n{\"globalAlias\":\"a.>\"}",
		"AllowBucketKey\n{\"bucketId\":\"" + id + "\",\"accessKeyId\":\"GK12345678\",\"permissions\":{\"read\":true}}",
		"AddBucketAlias\n{\"bucketId\":\"" + id + "\",\"globalAlias\":\"abc\"}",
		"UpdateClusterLayout\n{\"roles\":[{\"id\":\"" + id + "\",\"zone\":\"z\",\"capacity\":-1,\"tags\":null,\"service\":\"meta\"}]}",
		"UpdateBucket?id=" + id + "\n{\"websiteAccess\":{\"enabled\":true,\"indexDocument\":\"i\"},\"quotas\":{\"maxSize\":1}}",
		"CreateAdminToken\n{\"name\":\"n\",\"scope\":[\"*\"],\"expiration\":\"2030-01-01T00:00:00Z\"}",
		"UpdateAdminToken?id=a.b\n{\"neverExpires\":true}", "DeleteAdminToken?id=%3E\n", "LaunchRepairOperation?node=self\n{\"repairType\":{\"scrub\":\"start\"}}",
		"LaunchRepairOperation?node=*\n{\"repairType\":\"aliases\"}", "ListWorkers?node=" + id + "\n{\"busyOnly\":true}", "GetWorkerInfo?node=self\n{\"id\":-1}",
		"SetWorkerVariable?node=self\n{\"variable\":\"a\",\"value\":\"b\"}", "RetryBlockResync?node=*\n{\"blockHashes\":[\"00\"]}", "PurgeBlocks?node=*\n[\"00\"]",
		"GetBlockInfo?node=self\n{\"blockHash\":\"" + id + id + "\"}", "ConnectClusterNodes\n[\"" + id + "@h:1\"]",
		"CleanupIncompleteUploads\n{\"bucketId\":\"" + id + "\",\"olderThanSecs\":9223372036854775807}",
		"UpdateClusterLayout\n{\"parameters\":{\"zoneRedundancy\":{\"atLeast\":1e99}}}", "ApplyClusterLayout\n{\"version\":18446744073709551615}",
	} {
		f.Add(s)
	}
	addr := serve(f)
	client := &http.Client{Timeout: 10 * time.Second}
	f.Fuzz(func(t *testing.T, in string) {
		path, body, _ := strings.Cut(in, "\n")
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+addr+"/v2/"+path, strings.NewReader(body))
		if err != nil {
			t.Skip()
		}
		req.Header.Set("Authorization", "Bearer t")
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		// 503 is an answer here: the cluster was never created.
		if resp.StatusCode == http.StatusInternalServerError {
			t.Fatalf("%s", b)
		}
		var e struct{ Code, Message, Path string }
		if resp.StatusCode >= 400 && (json.Unmarshal(b, &e) != nil || e.Code == "" || e.Message == "" || e.Path == "") {
			t.Fatalf("%d %s", resp.StatusCode, b)
		}
	})
}
