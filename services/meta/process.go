package meta

import (
	"context"

	"hangar/shared/control"
	"hangar/shared/lifecycle"
	"hangar/shared/process"
)

// ProcessConfig is everything that a metadata node of its own reads from the
// environment.
type ProcessConfig struct {
	DataDir string `env:"HANGAR_DATA_DIR,required" desc:"Directory for everything this node keeps; it makes the node what it is"`
	Meta    Config
	Process process.Config
}

// Validate implements config.Validator.
func (c *ProcessConfig) Validate() error { return c.Meta.Validate() }

// RunProcess runs a metadata node as a process of its own, connected to the
// cluster's NATS servers, until ctx ends.
func RunProcess(ctx context.Context, c ProcessConfig, version string) error {
	c.Meta.Dir = c.DataDir
	node, err := Identify(c.DataDir)
	if err != nil {
		return err
	}
	id := process.Identity{Node: process.Describe("meta", version, c.Process.Zone, node), DataDir: c.DataDir}
	return lifecycle.Run(ctx, func(g *lifecycle.Group) error {
		p, err := process.Start(g, c.Process, id)
		if err != nil {
			return err
		}
		if err := p.AwaitControl(ctx); err != nil {
			return err
		}
		s, err := New(c.Meta, Deps{Server: p.Conn, Caller: p.Conn, Control: p.Mirror, Telemetry: p.Telemetry, Now: p.Now})
		if err != nil {
			return err
		}
		if err := process.Serve(g, "metadata", s.Run, s.Ready()); err != nil {
			return err
		}
		id.Failing = s.Failing
		id.Await = func(ctx context.Context, rev control.Revision) error { return s.Await(ctx, p.Mirror, rev) }
		return p.Announce(g, id)
	})
}
