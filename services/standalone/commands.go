package standalone

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"hangar/services/admin"
	"hangar/services/blocks"
	"hangar/services/gateway"
	"hangar/services/meta"
	"hangar/services/standalone/internal/cli"
	"hangar/services/standalone/internal/dev"
	"hangar/shared/config"
	"hangar/shared/lifecycle"
	"hangar/shared/natsd"
)

// Commands returns what the command line's long-running commands do.
func Commands(version string) cli.Servers { return commands{version} }

type commands struct{ version string }

// elsewhere are variables that the command line reads itself.
var elsewhere = []string{"HANGAR_ADMIN_ENDPOINT"}

func (c commands) Server(ctx context.Context, dir string) error {
	var cfg Config
	if err := config.Parse(&cfg, os.Environ(), elsewhere...); err != nil {
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
}

func (c commands) NATS(ctx context.Context, dir, listen string) error {
	var cfg brokerConfig
	if err := config.Parse(&cfg, os.Environ(), elsewhere...); err != nil {
		return err
	}
	s, err := natsd.Start(natsd.Options{Dir: dir, Listen: listen, Token: cfg.Token, TLSCert: cfg.TLSCert, TLSKey: cfg.TLSKey, TLSCA: cfg.TLSCA})
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stdout, "NATS serves on %s\n", s.ClientURL())
	return lifecycle.Run(ctx, func(g *lifecycle.Group) error {
		g.Defer("NATS", func(context.Context) error { s.Shutdown(); return nil })
		return nil
	})
}
