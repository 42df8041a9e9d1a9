package standalone

import (
	"context"
	"fmt"
	"net"
	"path/filepath"

	"hangar/services/admin"
	"hangar/services/blocks"
	"hangar/services/gateway"
	"hangar/services/meta"
	"hangar/shared/blockapi/blockrpc"
	"hangar/shared/control"
	"hangar/shared/metaapi"
	"hangar/shared/object"
	"hangar/shared/process"
	"hangar/shared/record"
	"hangar/shared/register"
	"hangar/shared/rpc"
)

// conns are the services' connections.
type conns struct{ meta, blocks, admin, gateway *rpc.Conn }

// services starts everything above the broker: control state first, then
// storage, then what clients talk to.
func (s *server) services(ctx context.Context) (admin.Bootstrapped, error) {
	var made admin.Bootstrapped
	metaNode, err := meta.Identify(s.c.Meta.Dir)
	if err != nil {
		return made, err
	}
	blocksNode, err := blocks.Identify(s.c.Blocks.Dir)
	if err != nil {
		return made, err
	}
	var n conns
	for _, x := range []struct {
		name string
		node object.NodeID
		into **rpc.Conn
	}{{"meta", metaNode, &n.meta}, {"blocks", blocksNode, &n.blocks}, {"admin", object.NewNodeID(), &n.admin}, {"gateway", object.NewNodeID(), &n.gateway}} {
		if *x.into, err = s.connect(ctx, x.name, x.node); err != nil {
			return made, err
		}
	}
	s.mirror, err = process.Follow(s.g, n.admin, control.MirrorOptions{Log: s.t.Logger, PersistTo: filepath.Join(s.c.Dir, "control.export")})
	if err != nil {
		return made, err
	}
	s.metrics.Follow(s.mirror)
	if s.now, err = process.Clock(s.t.Logger); err != nil {
		return made, err
	}
	clock := register.NewClock(register.NewNode(), s.now)
	rings := process.Rings{Mirror: s.mirror}
	near := func(n object.NodeID) bool { return n == metaNode }
	rows := metaapi.NewClient(n.gateway, rings, clock, metaapi.Options{Near: near})
	adm, made, err := s.admin(ctx, n, rows)
	if err != nil {
		return made, err
	}
	if err := s.storage(n, rows); err != nil {
		return made, err
	}
	// Only the gateway trades consistency: what decides over bodies and buckets
	// does not.
	loose := metaapi.NewClient(n.gateway, rings, clock, metaapi.Options{Near: near, ReadOne: rings.ReadOne, WriteOne: rings.WriteOne})
	if err := s.gateway(n, loose, rings, adm); err != nil {
		return made, err
	}
	id := identity("admin", s.c, n.admin, "")
	id.Node.AdminAddr = s.c.Admin.Addr
	if err := s.register(n.admin, id); err != nil {
		return made, err
	}
	if err := process.Serve(s.g, "admin", adm.Run, adm.Ready()); err != nil {
		return made, err
	}
	s.c.Admin.Addr = bound(s.c.Admin.Addr, adm.Addr())
	return made, nil
}

// bound is the address that was configured, with the port that was chosen for it
// if it left that open.
func bound(configured string, chosen net.Addr) string {
	if _, port, err := net.SplitHostPort(configured); err == nil && port != "0" {
		return configured
	}
	return chosen.String()
}

// admin makes the admin service and, at the first start, the cluster.
func (s *server) admin(ctx context.Context, n conns, rows metaapi.Rows) (*admin.Service, admin.Bootstrapped, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	adm, err := admin.New(ctx, s.c.Admin, admin.Deps{
		Conn: n.admin, Mirror: s.mirror, Rows: rows, Registry: s.t.Registry, Health: s.t.Health, Log: s.t.Logger, Now: s.now,
	})
	if err != nil {
		return nil, admin.Bootstrapped{}, err
	}
	disk, err := process.Disk(s.c.Dir)
	if err != nil {
		return nil, admin.Bootstrapped{}, fmt.Errorf("%s: %w", s.c.Dir, err)
	}
	role := func(node object.NodeID, service string) control.Role {
		return control.Role{Node: node, Service: service, Zone: s.c.Zone, CapacityBytes: disk.TotalBytes}
	}
	made, err := adm.Bootstrap(ctx, admin.BootstrapInput{
		Region: s.c.Region, ReplicationFactor: 1, Consistency: s.c.Consistency,
		Roles:     []control.Role{role(n.meta.Node(), "meta"), role(n.blocks.Node(), "blocks")},
		AccessKey: s.c.AccessKey, SecretKey: s.c.SecretKey, Bucket: s.c.Bucket,
	})
	return adm, made, err
}

// storage starts the nodes that keep data.
func (s *server) storage(n conns, rows metaapi.Rows) error {
	m, err := meta.New(s.c.Meta, meta.Deps{Server: n.meta, Caller: n.meta, Control: s.mirror, Telemetry: s.t, Now: s.now})
	if err != nil {
		return err
	}
	if err := process.Serve(s.g, "metadata", m.Run, m.Ready()); err != nil {
		return err
	}
	b, err := blocks.New(s.c.Blocks, blocks.Deps{
		Server: n.blocks, Caller: n.blocks, Control: s.mirror, Verifier: record.NewVerifier(rows, s.now), Purger: record.NewPurger(rows),
		Telemetry: s.t, Buffers: s.buffers,
	})
	if err != nil {
		return err
	}
	if err := process.Serve(s.g, "blocks", b.Run, b.Ready()); err != nil {
		return err
	}
	id := identity("meta", s.c, n.meta, s.c.Meta.Dir)
	id.Failing = m.Failing
	id.Await = func(ctx context.Context, rev control.Revision) error { return m.Await(ctx, s.mirror, rev) }
	if err := s.register(n.meta, id); err != nil {
		return err
	}
	id = identity("blocks", s.c, n.blocks, s.c.Blocks.Dir)
	id.Failing, id.Disks = b.Failing, b.Disks
	return s.register(n.blocks, id)
}

func (s *server) gateway(n conns, rows metaapi.ItemRows, rings process.Rings, adm *admin.Service) error {
	content, err := blockrpc.NewClient(n.gateway, rings.Blocks, blockrpc.Options{Buffers: s.buffers, WriteOne: rings.WriteOne})
	if err != nil {
		return err
	}
	s.g.Defer("block client", func(context.Context) error { content.Close(); return nil })
	gw, err := gateway.New(s.c.Gateway, gateway.Deps{
		Rows: rows, Blocks: content, Buckets: adm.Buckets(), View: s.mirror.View, Await: s.mirror.WaitRevision, Telemetry: s.t, Now: s.now,
		Bus: n.gateway,
	})
	if err != nil {
		return err
	}
	if err := process.Serve(s.g, "gateway", gw.Run, gw.Ready()); err != nil {
		return err
	}
	id := identity("gateway", s.c, n.gateway, "")
	id.Node.S3Addr = gw.Addr().String()
	s.c.Gateway.S3Addr = bound(s.c.Gateway.S3Addr, gw.Addr())
	if a := gw.K2VAddr(); a != nil {
		id.Node.K2VAddr = a.String()
		s.c.Gateway.K2VAddr = bound(s.c.Gateway.K2VAddr, a)
	}
	id.Await = func(ctx context.Context, rev control.Revision) error { return gw.Await(ctx, s.mirror, rev) }
	return s.register(n.gateway, id)
}

// register makes a service visible, as it is when it is a process of its own.
func (s *server) register(conn *rpc.Conn, id process.Identity) error {
	stop, err := process.Announce(conn, s.mirror, id)
	if err != nil {
		return err
	}
	s.g.Defer(id.Node.Service+" presence", func(context.Context) error { return stop() })
	return nil
}

func identity(service string, c Config, conn *rpc.Conn, dir string) process.Identity {
	return process.Identity{Node: process.Describe(service, c.Version, c.Zone, conn.Node()), DataDir: dir}
}
