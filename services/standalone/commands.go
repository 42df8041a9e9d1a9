package standalone

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"hangar/services/admin"
	"hangar/services/blocks"
	"hangar/services/gateway"
	"hangar/services/meta"
	"hangar/services/standalone/internal/broker"
	"hangar/services/standalone/internal/cli"
	"hangar/services/standalone/internal/dev"
	"hangar/shared/config"
	"hangar/shared/fault"
	"hangar/shared/lifecycle"
	"hangar/shared/natsd"
)

// Commands returns what the command line's long-running commands do.
func Commands(version string) cli.Servers { return commands{version} }

type commands struct{ version string }

func (c commands) Server(ctx context.Context, dir string) error {
	var cfg Config
	if err := config.Parse(&cfg, os.Environ()); err != nil {
		return err
	}
	cfg.Dir, cfg.Version, cfg.Out = dir, c.version, os.Stdout
	return Run(ctx, cfg)
}

func (c commands) ServerHelp() string {
	var s strings.Builder
	_ = config.Help(&s, Config{}) // a strings.Builder takes every write
	return s.String()
}

func (c commands) Dev(ctx context.Context, o cli.DevOptions) error {
	bin := o.BinDir
	if bin == "" {
		self, err := os.Executable()
		if err != nil {
			return fmt.Errorf("find the service binaries: %w; name their folder with --bin", err)
		}
		bin = filepath.Dir(self)
	}
	return dev.Run(ctx, dev.Options{
		Dir: o.Dir, BinDir: bin, Meta: o.Meta, Blocks: o.Blocks, Gateways: o.Gateways,
		ReplicationFactor: o.ReplicationFactor, Restart: o.Restart, Settings: map[string]any{
			"gateway": gateway.ProcessConfig{}, "meta": meta.ProcessConfig{}, "blocks": blocks.ProcessConfig{}, "admin": admin.ProcessConfig{},
		},
		AccessKey: os.Getenv("HANGAR_DEFAULT_ACCESS_KEY"), SecretKey: os.Getenv("HANGAR_DEFAULT_SECRET_KEY"),
		Bucket: os.Getenv("HANGAR_DEFAULT_BUCKET"), AdminToken: os.Getenv("HANGAR_ADMIN_TOKEN"), Out: os.Stdout,
	})
}

// brokerConfig are the settings of `hangar nats`.
type brokerConfig struct {
	Token   string `env:"HANGAR_NATS_TOKEN" file:"true" desc:"Token that clients must present"`
	TLSCert string `env:"HANGAR_NATS_CERT" desc:"File with the server's certificate; turns on TLS"`
	TLSKey  string `env:"HANGAR_NATS_KEY" desc:"File with the key of that certificate"`
	TLSCA   string `env:"HANGAR_NATS_CA" desc:"File with certificates: clients must present one signed by these"`
	Users   string `env:"HANGAR_NATS_USERS" desc:"File with users and their permissions, in the format of a NATS server's configuration: see hangar init"`
	Monitor string `env:"HANGAR_NATS_MONITOR" desc:"Address of the NATS server's own pages, /healthz among them; they show who is connected, so keep them to the machine"`

	Name    string   `env:"HANGAR_NATS_NAME" desc:"Name of this server among those of its cluster; it must stay the same"`
	Cluster string   `env:"HANGAR_NATS_CLUSTER" envDefault:"hangar" desc:"Name of the cluster of NATS servers, the same on all of them"`
	Listen  string   `env:"HANGAR_NATS_CLUSTER_LISTEN" desc:"Address that the other NATS servers connect to; empty: this server is alone"`
	Routes  []string `env:"HANGAR_NATS_ROUTES" desc:"Addresses of the other NATS servers' HANGAR_NATS_CLUSTER_LISTEN, comma separated"`
	Secret  string   `env:"HANGAR_NATS_CLUSTER_SECRET" file:"true" desc:"Secret that the NATS servers show each other"`
	PeersCA string   `env:"HANGAR_NATS_CLUSTER_CA" desc:"File with certificates: turns on TLS between the NATS servers, which must present HANGAR_NATS_CERT signed by these"`
}

// Validate implements config.Validator.
func (c *brokerConfig) Validate() error {
	switch {
	case c.Token != "" && c.Users != "":
		return errors.New("HANGAR_NATS_TOKEN and HANGAR_NATS_USERS exclude each other")
	case c.Listen == "" && (len(c.Routes) > 0 || c.Secret != "" || c.PeersCA != ""):
		return errors.New("HANGAR_NATS_ROUTES, HANGAR_NATS_CLUSTER_SECRET and HANGAR_NATS_CLUSTER_CA need HANGAR_NATS_CLUSTER_LISTEN")
	case c.PeersCA != "" && c.TLSCert == "":
		return errors.New("HANGAR_NATS_CLUSTER_CA needs HANGAR_NATS_CERT")
	case c.Listen != "" && (c.Name == "" || c.Cluster == ""):
		return errors.New("HANGAR_NATS_CLUSTER_LISTEN needs HANGAR_NATS_NAME and HANGAR_NATS_CLUSTER")
	}
	return nil
}

// checkUsers refuses users with which no process of this version works.
func (c *brokerConfig) checkUsers() error {
	if c.Users == "" {
		return nil
	}
	b, err := os.ReadFile(c.Users)
	if err != nil {
		return fmt.Errorf("HANGAR_NATS_USERS: %w", err)
	}
	if broker.Outdated(b) {
		return fmt.Errorf("HANGAR_NATS_USERS: %s is of an earlier version of Hangar: run `hangar init secrets --data` on the folder of secrets again, which keeps the passwords and writes this file anew, and see docs/operations/compose.md for how to upgrade", c.Users)
	}
	return nil
}

func (c *brokerConfig) options(dir, listen string) natsd.Options {
	o := natsd.Options{
		Dir: dir, Listen: listen, Name: c.Name, Token: c.Token, UsersFile: c.Users, Monitor: c.Monitor,
		TLSCert: c.TLSCert, TLSKey: c.TLSKey, TLSCA: c.TLSCA,
	}
	if c.Listen != "" {
		o.Cluster = &natsd.Cluster{Name: c.Cluster, Listen: c.Listen, Routes: c.Routes, Secret: c.Secret, TLSCA: c.PeersCA}
	}
	return o
}

func (c commands) MetaRestore(from, to string, lastCopy bool) (string, error) {
	restored, err := meta.Restore(from, to, lastCopy)
	if fault.Is(err, fault.Precondition) {
		return "", fmt.Errorf("%w; or say --last-copy if they are lost too", err)
	}
	return restored.Node.String(), err
}

func (c commands) NATS(ctx context.Context, dir, listen string) error {
	var cfg brokerConfig
	if err := config.Parse(&cfg, os.Environ()); err != nil {
		return err
	}
	if err := cfg.checkUsers(); err != nil {
		return err
	}
	s, err := natsd.Start(cfg.options(dir, listen))
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stdout, "NATS serves on %s\n", s.ClientURL())
	return lifecycle.Run(ctx, func(g *lifecycle.Group) error {
		g.Defer("NATS", func(context.Context) error { s.Shutdown(); return nil })
		return nil
	})
}
