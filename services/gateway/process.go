package gateway

import (
	"context"
	"net"
	"strconv"

	"hangar/shared/adminapi"
	"hangar/shared/blockapi/blockrpc"
	"hangar/shared/control"
	"hangar/shared/lifecycle"
	"hangar/shared/metaapi"
	"hangar/shared/object"
	"hangar/shared/process"
	"hangar/shared/register"
)

// ProcessConfig is everything that a gateway of its own reads from the
// environment.
type ProcessConfig struct {
	Gateway Config
	Process process.Config
}

// Validate implements config.Validator.
func (c *ProcessConfig) Validate() error { return c.Gateway.Validate() }

// RunProcess runs a gateway as a process of its own, connected to the cluster's
// NATS servers, until ctx ends.
func RunProcess(ctx context.Context, c ProcessConfig, version string) error {
	id := process.Identity{Node: process.Describe("gateway", version, c.Process.Zone, object.NewNodeID())}
	return lifecycle.Run(ctx, func(g *lifecycle.Group) error {
		p, err := process.Start(g, c.Process, id)
		if err != nil {
			return err
		}
		if err := p.AwaitControl(ctx); err != nil {
			return err
		}
		rings := process.Rings{Mirror: p.Mirror}
		blocks, err := blockrpc.NewClient(p.Conn, rings.Blocks, blockrpc.Options{WriteOne: rings.WriteOne})
		if err != nil {
			return err
		}
		g.Defer("block client", func(context.Context) error { blocks.Close(); return nil })
		clock := register.NewClock(register.NewNode(), p.Now)
		gw, err := New(c.Gateway, Deps{
			Rows: metaapi.NewClient(p.Conn, rings, clock, metaapi.Options{
				Near: rings.Near(c.Process.Zone), ReadOne: rings.ReadOne, WriteOne: rings.WriteOne,
			}),
			Blocks:    blocks,
			Buckets:   adminapi.NewClient(p.Conn),
			Bus:       p.Conn,
			View:      p.Mirror.View,
			Await:     p.Mirror.WaitRevision,
			Telemetry: p.Telemetry,
			Now:       p.Now,
		})
		if err != nil {
			return err
		}
		if err := process.Serve(g, "gateway", gw.Run, gw.Ready()); err != nil {
			return err
		}
		id.Node.S3Addr = reachable(gw.Addr(), id.Node.Hostname)
		if a := gw.K2VAddr(); a != nil {
			id.Node.K2VAddr = reachable(a, id.Node.Hostname)
		}
		id.Await = func(ctx context.Context, rev control.Revision) error { return gw.Await(ctx, p.Mirror, rev) }
		if err := p.Announce(g, id); err != nil {
			return err
		}
		g.Defer("drain", gw.Drain)
		return nil
	})
}

// reachable is the address that others may use: one that listens everywhere is
// found under the machine's name.
func reachable(addr net.Addr, hostname string) string {
	if tcp, ok := addr.(*net.TCPAddr); ok && tcp.IP.IsUnspecified() {
		return net.JoinHostPort(hostname, strconv.Itoa(tcp.Port))
	}
	return addr.String()
}
