package standalone

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"hangar/services/admin"
	"hangar/services/blocks"
	"hangar/services/gateway"
	"hangar/services/meta"
	"hangar/services/standalone/internal/adminclient"
	"hangar/services/standalone/internal/birth"
	"hangar/services/standalone/internal/broker"
	"hangar/services/standalone/internal/datadir"
	"hangar/services/standalone/internal/secrets"
	"hangar/shared/adminapi"
	"hangar/shared/blockapi"
	"hangar/shared/blockapi/blockrpc"
	"hangar/shared/config"
	"hangar/shared/control"
	"hangar/shared/metaapi"
	"hangar/shared/natsd"
	"hangar/shared/object"
	"hangar/shared/process"
	"hangar/shared/register"
	"hangar/shared/rpc"
)

// guarded is a NATS server with TLS that knows the users of secrets.Make.
type guarded struct {
	dir string // of the secrets
	url string
	log *journal
}

// journal keeps what the server logs.
type journal struct {
	mu  sync.Mutex
	buf bytes.Buffer // guarded by mu
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.Write(b)
}

func (j *journal) violations() (lines []string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for line := range strings.Lines(j.buf.String()) {
		if strings.Contains(line, "iolation") {
			lines = append(lines, line)
		}
	}
	return lines
}

func newGuarded(t *testing.T) *guarded {
	t.Helper()
	g := &guarded{dir: filepath.Join(t.TempDir(), "secrets"), log: &journal{}}
	must(t, secrets.Make(secrets.Options{Dir: g.dir, Owner: -1}))
	s, err := natsd.Start(natsd.Options{
		Dir: t.TempDir(), Listen: "127.0.0.1:0", Logger: slog.New(slog.NewTextHandler(g.log, nil)),
		UsersFile: g.file("nats/users.conf"), TLSCert: g.file("nats/tls.crt"), TLSKey: g.file("nats/tls.key"),
	})
	must(t, err)
	t.Cleanup(s.Shutdown)
	g.url = s.ClientURL()
	return g
}

func (g *guarded) file(name string) string { return filepath.Join(g.dir, name) }

func (g *guarded) password(t *testing.T, user string) string {
	t.Helper()
	for _, u := range broker.Users() {
		if u.Name == user {
			b, err := os.ReadFile(g.file(secrets.PasswordFile(u)))
			must(t, err)
			return strings.TrimSpace(string(b))
		}
	}
	t.Fatalf("there is no user %s", user)
	return ""
}

// as connects with the credentials of a service.
func (g *guarded) as(t *testing.T, user string) *rpc.Conn {
	t.Helper()
	c, err := rpc.Connect(t.Context(), rpc.Options{
		URL: g.url, User: user, Password: g.password(t, user), TLSCA: g.file("ca.crt"), InboxPrefix: "_INBOX_" + user,
		Node: object.NewNodeID(), Logger: slog.New(slog.DiscardHandler),
	})
	must(t, err)
	t.Cleanup(c.Close)
	return c
}

// environ is what a process of a service is given.
func (g *guarded) environ(service, zone string, more ...string) []string {
	return append([]string{
		"HANGAR_NATS_URL=" + g.url, "HANGAR_NATS_USER=" + service, "HANGAR_NATS_PASSWORD_FILE=" + g.file(service+"/nats.password"),
		"HANGAR_NATS_CA=" + g.file("ca.crt"), "HANGAR_NATS_INBOX=_INBOX_" + service,
		"HANGAR_OPS_ADDR=127.0.0.1:0", "HANGAR_LOG_LEVEL=ERROR", "HANGAR_ZONE=" + zone,
	}, more...)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// launch runs a service until the test ends.
func launch[C any](t *testing.T, environ []string, run func(context.Context, C, string) error) {
	t.Helper()
	var c C
	must(t, config.Parse(&c, environ))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx, c, "v1.2.3") }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestServicesNeedNoMoreThanTheirRights runs a cluster of real processes, each
// with its own user, through what they do: layout changes, requests, repair.
func TestServicesNeedNoMoreThanTheirRights(t *testing.T) {
	g := newGuarded(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	addr := l.Addr().String()
	l.Close()
	storage := func(zone string) {
		launch(t, g.environ("meta", zone, "HANGAR_DATA_DIR="+t.TempDir(), "HANGAR_META_REPAIR_INTERVAL=1s", "HANGAR_META_RESERVE_MIB=64"), meta.RunProcess)
		launch(t, g.environ("blocks", zone, "HANGAR_DATA_DIR="+t.TempDir(), "HANGAR_BLOCKS_REPAIR_INTERVAL=1s", "HANGAR_BLOCKS_RESERVE_MIB=64"), blocks.RunProcess)
	}
	launch(t, g.environ("admin", "z1", "HANGAR_NATS_CONTROL_USER=control", "HANGAR_NATS_CONTROL_PASSWORD_FILE="+g.file("admin/control.password"),
		"HANGAR_NATS_CONTROL_INBOX=_INBOX_control", "HANGAR_ADMIN_ADDR="+addr, "HANGAR_ADMIN_TOKEN_FILE="+g.file("admin/admin.token"),
		"HANGAR_ADMIN_TLS_CERT="+g.file("admin/tls.crt"), "HANGAR_ADMIN_TLS_KEY="+g.file("admin/tls.key"),
		"HANGAR_REPLICATION_FACTOR=2", "HANGAR_PARTITION_BITS=3"), admin.RunProcess)
	storage("z1")
	storage("z2")
	launch(t, g.environ("gateway", "z1", "HANGAR_S3_ADDR=127.0.0.1:0", "HANGAR_K2V_ADDR=127.0.0.1:0"), gateway.RunProcess)

	access, err := datadir.ReadAccess(g.dir)
	must(t, err)
	api, err := adminclient.Access{Endpoint: "https://" + addr, Token: access.AdminToken, CA: g.file("ca.crt")}.Client()
	must(t, err)
	t.Cleanup(api.HTTP.CloseIdleConnections)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cluster := birth.Cluster{
		API: api, Meta: 2, Blocks: 2,
		AccessKey: access.AccessKey, SecretKey: access.SecretKey,
	}
	made, err := birth.Make(ctx, cluster)
	must(t, err)
	if !made {
		t.Error("no key was made")
	}
	view := follow(t, g)
	asGateway(t, g, access.AccessKey, view)

	storage("z3")
	cluster.Meta, cluster.Blocks = 3, 3
	made, err = birth.Make(ctx, cluster)
	must(t, err)
	if made {
		t.Error("the key was made twice")
	}
	for {
		changed := view.Changed()
		if now := view.View().Layout; now != nil && now.Version == 2 && !now.Joint() {
			break
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatal("the layout change does not end")
		}
	}
	asGateway(t, g, access.AccessKey, view)
	if v := g.log.violations(); len(v) > 0 {
		t.Errorf("%d times something was refused, such as\n%s", len(v), v[0])
	}
}

// asGateway does with the rights of a gateway what gateways do.
func asGateway(t *testing.T, g *guarded, key string, m *control.Mirror) {
	t.Helper()
	conn := g.as(t, "gateway")
	rings := process.Rings{Mirror: m}
	rows := metaapi.NewClient(conn, rings, register.NewClock(register.NewNode(), time.Now), metaapi.Options{})
	content, err := blockrpc.NewClient(conn, rings.Blocks, blockrpc.Options{})
	must(t, err)
	t.Cleanup(content.Close)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()

	buckets := adminapi.NewClient(conn)
	bucket, err := buckets.Create(ctx, key, "bucket-"+object.NewNodeID().String()[:8])
	must(t, err)
	row := metaapi.RowKey{Table: metaapi.Objects, Bucket: bucket, Key: "k"}
	_, err = rows.Put(ctx, row, &metaapi.Value{Head: []byte("head"), Count: 1, Bytes: 4})
	must(t, err)
	if got, err := rows.Get(ctx, row); err != nil || got.Value == nil {
		t.Errorf("the row: %v, %v", got, err)
	}
	page, err := rows.Scan(ctx, metaapi.Range{Table: metaapi.Objects, Bucket: bucket, Limit: 10})
	if err != nil || len(page.Entries) != 1 {
		t.Errorf("listed %d rows, %v", len(page.Entries), err)
	}
	owner := blockapi.Owner{Bucket: bucket, Key: "k", Version: object.NewVersionID(), Manifest: object.NewManifestID()}
	hash, err := content.Put(ctx, owner, bytes.Repeat([]byte("x"), 1<<20))
	must(t, err)
	if _, err := content.Get(ctx, hash); err != nil {
		t.Errorf("the block: %v", err)
	}
	other := owner
	other.Manifest = object.NewManifestID()
	must(t, content.Reference(ctx, other, []object.Hash{hash}))
	content.Release(ctx, blockapi.Released{Bucket: bucket, Key: "k", Version: owner.Version})
	_, err = rows.Put(ctx, row, nil)
	must(t, err)
	must(t, buckets.Delete(ctx, key, bucket))
}

// follow mirrors the control state with the rights of a gateway.
func follow(t *testing.T, g *guarded) *control.Mirror {
	t.Helper()
	m, err := control.NewMirror(g.as(t, "gateway").NATS(), control.MirrorOptions{Log: slog.New(slog.DiscardHandler)})
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	must(t, m.WaitSynced(t.Context()))
	return m
}

// TestAStolenGatewayPasswordOpensLittle: what the permissions are for.
func TestAStolenGatewayPasswordOpensLittle(t *testing.T) {
	g := newGuarded(t)
	owner := g.as(t, "control")
	store, err := control.OpenStore(t.Context(), owner.NATS(), control.StoreOptions{})
	must(t, err)
	_, _, err = store.CreateCluster(t.Context(), control.Cluster{ID: "x", Region: "hangar", ReplicationFactor: 1, PartitionBits: 3})
	must(t, err)
	node := g.as(t, "meta")
	ordered := make(chan string, 16)
	for _, op := range []string{"transfer", "adopt", "set-variable", "digests"} {
		_, err := node.Handle(rpc.NodeSubject("meta", op, node.Node()), func(context.Context, rpc.Message) (rpc.Message, error) {
			ordered <- op
			return rpc.Message{}, nil
		})
		must(t, err)
	}
	thief := g.as(t, "gateway")
	nc := thief.NATS()

	for _, subject := range []string{
		"$KV." + control.BucketName + ".cluster", "$JS.API.STREAM.DELETE.KV_" + control.BucketName, "$JS.API.STREAM.PURGE.KV_" + control.BucketName,
		"$JS.API.STREAM.CREATE.thief", "$JS.API.STREAM.UPDATE.KV_" + control.BucketName, "$JS.API.META.LEADER.STEPDOWN",
		rpc.NodeSubject("meta", "transfer", node.Node()), rpc.NodeSubject("meta", "adopt", node.Node()),
		rpc.NodeSubject("meta", "set-variable", node.Node()), rpc.NodeSubject("meta", "digests", node.Node()),
		rpc.NodeSubject("blocks", "purge-blocks", node.Node()), rpc.ServiceSubject("control", "barrier"),
		"$SRV.STATS", "$SYS.REQ.SERVER.PING", "_INBOX_meta.abc", "_INBOX_admin.abc", "_INBOX_gateway.abc", "_INBOX.abc",
	} {
		refused(t, g, subject, func() error {
			return nc.PublishMsg(&nats.Msg{Subject: subject, Reply: nc.NewInbox(), Data: []byte("x")})
		}, nc)
	}
	for _, subject := range []string{
		">", "_INBOX_admin.>", "_INBOX_meta.>", "_INBOX.>", "hangar.>", "hangar.meta.p.row.*", "hangar.admin.any.create-bucket",
		"$KV." + control.BucketName + ".>", "$JS.API.>", "$SYS.>",
	} {
		refused(t, g, subject, func() error { _, err := nc.SubscribeSync(subject); return err }, nc)
	}
	// An order put into another's mouth: the answer to a request would be sent to
	// the subject of an order.
	must(t, nc.PublishMsg(&nats.Msg{Subject: "hangar.meta.n.scan." + node.Node().String(), Reply: rpc.NodeSubject("meta", "transfer", node.Node()), Data: []byte("x")}))
	must(t, nc.Flush())
	select {
	case op := <-ordered:
		t.Errorf("a gateway ordered %q", op)
	default:
	}
	js, err := jetstream.New(owner.NATS())
	must(t, err)
	s, err := js.Stream(t.Context(), "KV_"+control.BucketName)
	must(t, err)
	if n := s.CachedInfo().State.LastSeq; n != 1 {
		t.Errorf("the control state has %d records, want 1", n)
	}
}

// refused checks that the server says no to what do does.
func refused(t *testing.T, g *guarded, subject string, do func() error, nc *nats.Conn) {
	t.Helper()
	before := len(g.log.violations())
	must(t, do())
	must(t, nc.Flush())
	if len(g.log.violations()) == before {
		t.Errorf("%s was not refused", subject)
	}
}

func TestForeignCredentialsAreRefused(t *testing.T) {
	g := newGuarded(t)
	for _, c := range []rpc.Options{
		{User: "gateway", Password: g.password(t, "meta")}, {User: "gateway"}, {},
	} {
		c.URL, c.TLSCA, c.Node = g.url, g.file("ca.crt"), object.NewNodeID()
		conn, err := rpc.Connect(t.Context(), c)
		if err == nil {
			conn.Close()
		}
		if !errors.Is(err, nats.ErrAuthorization) {
			t.Errorf("user %q: %v", c.User, err)
		}
	}
}
