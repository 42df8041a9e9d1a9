package standalone

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"hangar/services/standalone/internal/cli"
	"hangar/shared/config"
	"hangar/shared/control"
	"hangar/shared/fault"
	"hangar/shared/lifecycle"
	"hangar/shared/natsd"
	"hangar/shared/object"
	"hangar/shared/process"
	"hangar/shared/rpc"
)

// ControlExport writes the control state to a file.
func (c commands) ControlExport(ctx context.Context, at cli.ControlAt, file string) error {
	return withControl(ctx, at, func(ctx context.Context, g *lifecycle.Group, conn *rpc.Conn) error {
		if at.Dir != "" { // it may be of a version that mirrors cannot read
			if _, err := control.OpenStore(ctx, conn.NATS(), control.StoreOptions{Existing: true}); err != nil {
				return err
			}
		}
		m, err := process.Follow(g, conn, control.MirrorOptions{})
		if err != nil {
			return err
		}
		if err := m.WaitSynced(ctx); err != nil {
			return fmt.Errorf("no control state there: %w", err)
		}
		return m.Export(file)
	})
}

// ControlRestore rebuilds the control state from a file.
func (c commands) ControlRestore(ctx context.Context, at cli.ControlAt, file string, force bool) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	return withControl(ctx, at, func(ctx context.Context, _ *lifecycle.Group, conn *rpc.Conn) error {
		store, err := control.OpenStore(ctx, conn.NATS(), control.StoreOptions{})
		if err != nil {
			return err
		}
		_, err = store.Restore(ctx, f, force)
		if fault.Is(err, fault.AlreadyExists) {
			return fmt.Errorf("%w: say --force --yes to do so", err)
		}
		return err
	})
}

// withControl connects to the broker of a stopped server's directory, which is
// started for it, or to running NATS servers.
func withControl(ctx context.Context, at cli.ControlAt, do func(context.Context, *lifecycle.Group, *rpc.Conn) error) error {
	work, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	done := errors.New("done")
	err := lifecycle.Run(work, func(g *lifecycle.Group) error {
		var o rpc.Options
		if at.Dir != "" {
			broker, err := openBroker(g, at.Dir)
			if err != nil {
				return err
			}
			o.InProcess = broker.InProcess()
		} else {
			var n process.NATS
			if err := config.Parse(&n, config.Select(os.Environ(), n)); err != nil {
				return err
			}
			if at.NATS != "" {
				n.URL = at.NATS
			}
			o = n.Options()
		}
		o.Name, o.Node = "hangar control", object.NewNodeID()
		conn, err := rpc.Connect(work, o)
		if err != nil {
			return err
		}
		g.Defer("NATS connection", func(context.Context) error { conn.Close(); return nil })
		if err := do(work, g, conn); err != nil {
			return err
		}
		return done // nothing is left to run
	})
	if errors.Is(err, done) {
		return nil
	}
	return err
}

// openBroker starts the broker of a server that is not running.
func openBroker(g *lifecycle.Group, dir string) (*natsd.Server, error) {
	if _, err := os.Stat(filepath.Join(dir, "nats")); err != nil {
		return nil, fmt.Errorf("%s is no data directory of a hangar server: %w", dir, err)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	g.Defer("lock", func(context.Context) error { return lock.Close() })
	broker, err := natsd.Start(natsd.Options{Dir: filepath.Join(dir, "nats")})
	if err != nil {
		return nil, err
	}
	g.Defer("NATS", func(context.Context) error { broker.Shutdown(); return nil })
	return broker, nil
}
