package admin

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"hangar/shared/control"
	"hangar/shared/layout"
	"hangar/shared/lifecycle"
	"hangar/shared/metaapi"
	"hangar/shared/object"
	"hangar/shared/process"
	"hangar/shared/register"
	"hangar/shared/rpc"
)

// ProcessConfig is everything that an admin service of its own reads from the
// environment.
type ProcessConfig struct {
	Admin   Config
	Process process.Config
	Birth   Birth
	Control ControlUser
	DataDir string `env:"HANGAR_DATA_DIR" desc:"Folder for a copy of the control state, from which it can be restored; empty keeps none"`
}

// ControlUser is the user of NATS that may change the control state, where that
// is another than HANGAR_NATS_USER.
type ControlUser struct {
	Name     string `env:"HANGAR_NATS_CONTROL_USER" desc:"User name for NATS to change the control state with; empty: HANGAR_NATS_USER may do so"`
	Password string `env:"HANGAR_NATS_CONTROL_PASSWORD" file:"true" desc:"Password of that user"`
	Inbox    string `env:"HANGAR_NATS_CONTROL_INBOX" desc:"Prefix of the subjects that answers to that user arrive on"`
}

// keptCopy is the copy of the control state that earlier starts have left in dir.
func keptCopy(dir string) (string, error) {
	if dir == "" {
		return "", nil
	}
	path := filepath.Join(dir, process.ControlCopy)
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return "", nil
	} else if err != nil {
		return "", fmt.Errorf("HANGAR_DATA_DIR: %w", err)
	}
	return path, nil
}

// connect connects to the same servers as nats, as this user.
func (c ControlUser) connect(g *lifecycle.Group, p *process.Process, nats process.NATS) (*rpc.Conn, error) {
	if c.Name == "" {
		return p.Conn, nil
	}
	nats.User, nats.Password, nats.Inbox = c.Name, c.Password, c.Inbox
	conn, err := p.Connect(g, nats)
	if err != nil {
		return nil, fmt.Errorf("HANGAR_NATS_CONTROL_USER: %w; if the NATS servers do not know it, run hangar init secrets again and restart them", err)
	}
	return conn, nil
}

// Birth is what a cluster gets when it is created. It keeps all of it for ever
// but the consistency mode, which the control state holds from then on.
type Birth struct {
	Region            string              `env:"HANGAR_REGION" envDefault:"hangar" desc:"S3 region of a new cluster"`
	ReplicationFactor int                 `env:"HANGAR_REPLICATION_FACTOR" envDefault:"3" desc:"Copies that a new cluster keeps of everything"`
	Consistency       control.Consistency `env:"HANGAR_CONSISTENCY_MODE" envDefault:"consistent" desc:"Consistency of a new cluster: consistent, degraded (reads take the first answer) or dangerous (besides, writes wait for one replica only)"`
	PartitionBits     uint8               `env:"HANGAR_PARTITION_BITS" envDefault:"8" desc:"A new cluster has two to the power of this many partitions"`
}

// Validate implements config.Validator.
func (c *ProcessConfig) Validate() error {
	switch {
	case c.Birth.Region == "":
		return errors.New("HANGAR_REGION must not be empty")
	case c.Birth.ReplicationFactor < 1 || c.Birth.ReplicationFactor > layout.MaxReplicationFactor:
		return fmt.Errorf("HANGAR_REPLICATION_FACTOR must be between 1 and %d", layout.MaxReplicationFactor)
	case c.Birth.PartitionBits < 1 || c.Birth.PartitionBits > layout.MaxBits:
		return fmt.Errorf("HANGAR_PARTITION_BITS must be between 1 and %d", layout.MaxBits)
	}
	if err := c.Birth.Consistency.Validate(); err != nil {
		return fmt.Errorf("HANGAR_CONSISTENCY_MODE: %w", err)
	}
	return c.Admin.Validate()
}

// openTimeout bounds how long a starting process waits for JetStream.
const openTimeout = time.Minute

// RunProcess runs an admin service as a process of its own, connected to the
// cluster's NATS servers, until ctx ends. It creates the cluster when there is
// none.
func RunProcess(ctx context.Context, c ProcessConfig, version string) error {
	if c.DataDir != "" {
		if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
			return fmt.Errorf("HANGAR_DATA_DIR: %w", err)
		}
	}
	copied, err := keptCopy(c.DataDir)
	if err != nil {
		return err
	}
	id := process.Identity{Node: process.Describe("admin", version, c.Process.Zone, object.NewNodeID()), DataDir: c.DataDir}
	return lifecycle.Run(ctx, func(g *lifecycle.Group) error {
		p, err := process.Start(g, c.Process, id)
		if err != nil {
			return err
		}
		open, cancel := context.WithTimeout(ctx, openTimeout)
		defer cancel()
		rings := process.Rings{Mirror: p.Mirror}
		clock := register.NewClock(register.NewNode(), p.Now)
		writer, err := c.Control.connect(g, p, c.Process.NATS)
		if err != nil {
			return err
		}
		s, err := New(open, c.Admin, Deps{
			Conn: p.Conn, Control: writer, Copy: copied, Mirror: p.Mirror, Registry: p.Telemetry.Registry, Log: p.Telemetry.Logger, Now: p.Now,
			Rows: metaapi.NewClient(p.Conn, rings, clock, metaapi.Options{Near: rings.Near(c.Process.Zone)}),
		})
		if err != nil {
			return err
		}
		if _, err := s.Bootstrap(open, BootstrapInput{
			Region: c.Birth.Region, ReplicationFactor: c.Birth.ReplicationFactor, PartitionBits: c.Birth.PartitionBits,
			Consistency: c.Birth.Consistency, LeaveKeys: true,
		}); err != nil {
			return err
		}
		if err := process.Serve(g, "admin", s.Run, s.Ready()); err != nil {
			return err
		}
		id.Node.AdminAddr = s.Addr().String()
		return p.Announce(g, id)
	})
}
