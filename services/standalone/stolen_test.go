package standalone

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"hangar/services/admin"
	"hangar/services/standalone/internal/broker"
	"hangar/services/standalone/internal/secrets"
	"hangar/shared/config"
	"hangar/shared/control"
	"hangar/shared/natsd"
	"hangar/shared/object"
	"hangar/shared/process"
	"hangar/shared/rpc"
)

// trio is three NATS servers that are one, with the users of secrets.Make.
type trio struct {
	guarded
	options [3]natsd.Options
	servers [3]*natsd.Server
}

func newTrio(t *testing.T) *trio {
	t.Helper()
	c := &trio{guarded: guarded{dir: filepath.Join(t.TempDir(), "secrets"), log: &journal{}}}
	must(t, secrets.Make(secrets.Options{Dir: c.dir, Owner: -1}))
	var clients, peers [3]string
	for i := range clients {
		clients[i], peers[i] = freePort(t), freePort(t)
	}
	for i := range c.options {
		c.options[i] = natsd.Options{
			Dir: t.TempDir(), Name: fmt.Sprint("nats-", i), Listen: clients[i], Logger: slog.New(slog.NewTextHandler(c.log, nil)),
			UsersFile: c.file("nats/users.conf"), TLSCert: c.file("nats/tls.crt"), TLSKey: c.file("nats/tls.key"),
			Cluster: &natsd.Cluster{Name: "c", Listen: peers[i], Routes: peers[:]},
		}
		c.start(t, i)
		c.url += "," + c.servers[i].ClientURL()
	}
	c.url = c.url[1:]
	t.Cleanup(func() {
		for _, s := range c.servers {
			s.Shutdown()
		}
	})
	return c
}

func (c *trio) start(t *testing.T, i int) {
	t.Helper()
	s, err := natsd.Start(c.options[i])
	must(t, err)
	c.servers[i] = s
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().String()
}

// TestNoServiceWritesTheControlState: with the password of any service, nothing
// that can be said on NATS changes what admins read, on three servers that are
// one. Afterwards all of it survives a restart of every server.
func TestNoServiceWritesTheControlState(t *testing.T) {
	c := newTrio(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	owner := c.as(t, "control")
	store, err := control.OpenStore(ctx, owner.NATS(), control.StoreOptions{Replicas: 3})
	must(t, err)
	_, _, err = store.CreateCluster(ctx, control.Cluster{ID: "x", Region: "hangar", ReplicationFactor: 1, PartitionBits: 3})
	must(t, err)
	key, before, err := store.CreateKey(ctx, control.Key{Name: "kept"})
	must(t, err)
	gone, _, err := store.CreateKey(ctx, control.Key{Name: "gone"})
	must(t, err)
	view := follow(t, &c.guarded)
	must(t, view.WaitRevision(ctx, before))
	before, err = store.DeleteKey(ctx, view.View(), gone.ID) // a marker: a record without content
	must(t, err)
	must(t, view.WaitRevision(ctx, before))

	for _, user := range broker.Users() {
		if user.Account == broker.ControlAccount {
			continue
		}
		t.Run(user.Name, func(t *testing.T) {
			thief := c.as(t, user.Name)
			directly(t, &c.guarded, thief.NATS())
			byAnswers(t, thief.NATS(), key.ID, gone.ID)
			byOwnRequests(t, &c.guarded, thief, user.Name)
		})
	}

	info := streamInfo(ctx, t, owner)
	if info.State.LastSeq != before || info.Config.Replicas != 3 || len(info.Config.Sources) != 0 || info.Config.Mirror != nil {
		t.Errorf("the stream was changed: %+v %+v", info.Config, info.State)
	}
	if s := info.State; s.Consumers != 0 {
		t.Errorf("%d consumers were made", s.Consumers)
	}
	_, after, err := store.CreateKey(ctx, control.Key{Name: "after"})
	must(t, err)
	if after != before+1 {
		t.Errorf("revision %d after %d", after, before)
	}
	must(t, view.WaitRevision(ctx, after))
	same(t, view.View(), key, gone)

	for _, s := range c.servers {
		s.Shutdown()
	}
	for i := range c.servers {
		c.start(t, i)
	}
	again := follow(t, &c.guarded)
	must(t, again.WaitRevision(ctx, after))
	same(t, again.View(), key, gone)
	_, last, err := store.CreateKey(ctx, control.Key{Name: "last"})
	must(t, err)
	must(t, again.WaitRevision(ctx, last))
	must(t, view.WaitRevision(ctx, last)) // the one that saw the restart
}

func same(t *testing.T, v *control.View, key, gone *control.Key) {
	t.Helper()
	if k := v.Key(key.ID); v.Cluster.ID != "x" || k == nil || k.Secret != key.Secret || v.Key(gone.ID) != nil {
		t.Errorf("the control state was changed: %+v %+v", v.Cluster, v.Keys())
	}
}

func streamInfo(ctx context.Context, t *testing.T, conn *rpc.Conn) *jetstream.StreamInfo {
	t.Helper()
	msg, err := conn.NATS().RequestWithContext(ctx, control.StreamInfoSubject, nil)
	must(t, err)
	info := new(jetstream.StreamInfo)
	must(t, json.Unmarshal(msg.Data, info))
	return info
}

const stream = "KV_" + control.BucketName

// forbidden are the subjects by which JetStream is told to change a stream, and
// those that stand for the control state elsewhere.
var forbidden = []string{
	"$KV." + control.BucketName + ".cluster", "$JS.API.STREAM.CREATE." + stream, "$JS.API.STREAM.CREATE.thief", "$JS.API.STREAM.UPDATE." + stream,
	"$JS.API.STREAM.DELETE." + stream, "$JS.API.STREAM.PURGE." + stream, "$JS.API.STREAM.MSG.DELETE." + stream, "$JS.API.STREAM.SNAPSHOT." + stream,
	"$JS.API.STREAM.RESTORE." + stream, "$JS.API.STREAM.PEER.REMOVE." + stream, "$JS.API.STREAM.LEADER.STEPDOWN." + stream,
	"$JS.API.CONSUMER.CREATE." + stream, "$JS.API.CONSUMER.CREATE." + stream + ".thief", "$JS.API.CONSUMER.DURABLE.CREATE." + stream + ".thief",
	"$JS.API.CONSUMER.MSG.NEXT." + stream + ".thief", "$JS.API.META.LEADER.STEPDOWN", "$JS.API.SERVER.REMOVE", "$JS.API.ACCOUNT.PURGE." + broker.ControlAccount,
	"$JS.ACK." + stream + ".thief.1.1.1.1.0", "$JS.hangar.API.STREAM.DELETE." + stream, "$SYS.REQ.ACCOUNT.PING",
	"hangar.control.changed.cluster", "_INBOX_control.x",
}

// directly says it outright. Every subject is refused.
func directly(t *testing.T, g *guarded, nc *nats.Conn) {
	t.Helper()
	for _, body := range []string{"", `{"name":"thief","subjects":["x"],"sources":[{"name":"` + stream + `"}],"config":{"deliver_subject":"$KV.` + control.BucketName + `.cluster"}}`} {
		for _, subject := range forbidden {
			refused(t, g, subject, func() error {
				return nc.PublishMsg(&nats.Msg{Subject: subject, Reply: nc.NewInbox(), Data: []byte(body)})
			}, nc)
		}
	}
}

// byAnswers asks what may be asked and names a forbidden subject for the answer,
// among them a record without content, which JetStream would take for an order.
func byAnswers(t *testing.T, nc *nats.Conn, key, gone string) {
	t.Helper()
	for _, reply := range append([]string{control.ReadSubject, control.InfoSubject, "_R_.x.y", "hangar.control.changed.cluster"}, forbidden...) {
		for _, ask := range []struct{ subject, body string }{
			{control.InfoSubject, ""}, {control.InfoSubject, "nonsense"},
			{control.ReadSubject, `{"seq":1,"batch":100}`},
			{control.ReadSubject, `{"last_by_subj":"$KV.` + control.BucketName + `.key.` + key + `"}`},
			{control.ReadSubject, `{"last_by_subj":"$KV.` + control.BucketName + `.key.` + gone + `"}`},
			{control.ReadSubject, `{"last_by_subj":"$KV.` + control.BucketName + `.key.` + gone + `","no_hdr":true}`},
			{control.ReadSubject, `{"multi_last":["$KV.` + control.BucketName + `.>"],"batch":100}`},
		} {
			m := &nats.Msg{Subject: ask.subject, Reply: reply, Data: []byte(ask.body), Header: nats.Header{"Nats-Rollup": {"all"}, "KV-Operation": {"PURGE"}}}
			must(t, nc.PublishMsg(m))
		}
	}
	must(t, nc.Flush())
}

// byOwnRequests has the thief be asked by itself, and answer to a forbidden
// subject: the right to answer, as NATS knows it, would allow that.
func byOwnRequests(t *testing.T, g *guarded, thief *rpc.Conn, user string) {
	t.Helper()
	nc, node := thief.NATS(), object.NewNodeID()
	orders := []string{rpc.NodeSubject("blocks", "purge-blocks", node), rpc.NodeSubject("meta", "transfer", node)}
	ordered := make(chan *nats.Msg, len(orders))
	for i, service := range []string{"blocks", "meta"} {
		victim := g.as(t, service).NATS()
		_, err := victim.ChanSubscribe(orders[i], ordered)
		must(t, err)
		must(t, victim.Flush())
	}
	subject := map[string]string{
		"meta": rpc.NodeSubject("meta", "scan", node), "blocks": rpc.NodeSubject("blocks", "get", node),
		"admin": rpc.NodeSubject("admin", "change-status", node),
	}[user]
	if subject == "" {
		return // a gateway may send to nothing that it may listen to
	}
	// Servers refuse a request whose answer would be an acknowledgement.
	replies := slices.DeleteFunc(slices.Clone(forbidden), func(s string) bool { return strings.HasPrefix(s, "$JS.ACK.") })
	if user != "admin" { // which gives such orders
		replies = append(replies, orders...)
	}
	asked := make(chan *nats.Msg, len(replies))
	_, err := nc.ChanSubscribe(subject, asked)
	must(t, err)
	for _, reply := range replies {
		must(t, nc.PublishRequest(subject, reply, []byte("x")))
	}
	must(t, nc.Flush())
	if len(asked) != len(replies) {
		t.Fatalf("%d requests arrived of %d", len(asked), len(replies))
	}
	for range replies {
		m := <-asked
		refused(t, g, m.Reply, func() error { return m.Respond([]byte(`{"format":1,"data":{"id":"stolen"}}`)) }, nc)
	}
	if len(ordered) > 0 {
		t.Errorf("%s was ordered", (<-ordered).Subject)
	}
}

// TestAKnownClusterIsNotMadeAnew: an admin process that kept a copy of the control
// state refuses to begin without it, as after an upgrade to an account of its own
// for it, and goes on once it is restored.
func TestAKnownClusterIsNotMadeAnew(t *testing.T) {
	g := newGuarded(t)
	dir := t.TempDir()
	old := newGuarded(t)
	store, err := control.OpenStore(t.Context(), old.as(t, "control").NATS(), control.StoreOptions{})
	must(t, err)
	_, rev, err := store.CreateCluster(t.Context(), control.Cluster{ID: "x", Region: "old", ReplicationFactor: 1, PartitionBits: 3})
	must(t, err)
	before := follow(t, old)
	must(t, before.WaitRevision(t.Context(), rev))
	export := filepath.Join(dir, process.ControlCopy)
	must(t, before.Export(export))

	environ := g.environ("admin", "z1", "HANGAR_NATS_CONTROL_USER=control", "HANGAR_NATS_CONTROL_PASSWORD_FILE="+g.file("admin/control.password"),
		"HANGAR_NATS_CONTROL_INBOX=_INBOX_control", "HANGAR_ADMIN_ADDR=127.0.0.1:0", "HANGAR_ADMIN_TOKEN_FILE="+g.file("admin/admin.token"), "HANGAR_DATA_DIR="+dir)
	var c admin.ProcessConfig
	must(t, config.Parse(&c, environ))
	if err := admin.RunProcess(t.Context(), c, "v1.2.3"); err == nil || !strings.Contains(err.Error(), "hangar control restore") {
		t.Fatalf("it began without what it knew: %v", err)
	}
	anew, err := control.OpenStore(t.Context(), g.as(t, "control").NATS(), control.StoreOptions{})
	must(t, err)
	if err := admin.RunProcess(t.Context(), c, "v1.2.3"); err == nil || !strings.Contains(err.Error(), "hangar control restore") {
		t.Fatalf("it began with an empty stream: %v", err)
	}
	f, err := os.Open(export)
	must(t, err)
	defer f.Close()
	_, err = anew.Restore(t.Context(), f, false)
	must(t, err)
	launch(t, environ, admin.RunProcess)
	after := follow(t, g)
	if id := after.View().Cluster.ID; id != "x" {
		t.Errorf("cluster %q", id)
	}
}

// TestUsersOfAnEarlierVersionAreRefused before any process fails at them.
func TestUsersOfAnEarlierVersionAreRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "users.conf")
	must(t, os.WriteFile(file, []byte("# Who may say what: the users of Hangar and their permissions. Include this file\n"), 0o600))
	if err := (&brokerConfig{Users: file}).checkUsers(); err == nil || !strings.Contains(err.Error(), "hangar init secrets") {
		t.Errorf("taken: %v", err)
	}
	if err := (&brokerConfig{Users: newGuarded(t).file("nats/users.conf")}).checkUsers(); err != nil {
		t.Errorf("this version's: %v", err)
	}
}
