package blocks

import (
	"context"

	"hangar/shared/lifecycle"
	"hangar/shared/metaapi"
	"hangar/shared/process"
	"hangar/shared/record"
	"hangar/shared/register"
)

// ProcessConfig is everything that a node of its own reads from the
// environment.
type ProcessConfig struct {
	DataDir string `env:"HANGAR_DATA_DIR,required" desc:"Directory for everything this node keeps; it makes the node what it is"`
	Blocks  Config
	Process process.Config
}

// Validate implements config.Validator.
func (c *ProcessConfig) Validate() error { return c.Blocks.Validate() }

// RunProcess runs a node as a process of its own, connected to the cluster's
// NATS servers, until ctx ends.
func RunProcess(ctx context.Context, c ProcessConfig, version string) error {
	c.Blocks.Dir = c.DataDir
	node, err := Identify(c.DataDir)
	if err != nil {
		return err
	}
	id := process.Identity{Node: process.Describe(service, version, c.Process.Zone, node), DataDir: c.DataDir}
	return lifecycle.Run(ctx, func(g *lifecycle.Group) error {
		p, err := process.Start(g, c.Process, id)
		if err != nil {
			return err
		}
		if err := p.AwaitControl(ctx); err != nil {
			return err
		}
		rings := process.Rings{Mirror: p.Mirror}
		clock := register.NewClock(register.NewNode(), p.Now)
		rows := metaapi.NewClient(p.Conn, rings, clock, metaapi.Options{Near: rings.Near(c.Process.Zone)})
		s, err := New(c.Blocks, Deps{
			Server: p.Conn, Caller: p.Conn, Control: p.Mirror,
			Verifier: record.NewVerifier(rows, p.Now), Purger: record.NewPurger(rows), Telemetry: p.Telemetry,
		})
		if err != nil {
			return err
		}
		if err := process.Serve(g, "blocks", s.Run, s.Ready()); err != nil {
			return err
		}
		id.Failing, id.Disks = s.Failing, s.Disks
		return p.Announce(g, id)
	})
}
