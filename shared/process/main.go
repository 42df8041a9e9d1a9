package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"hangar/shared/config"
	"hangar/shared/lifecycle"
	"hangar/shared/telemetry"
)

// Main is the main function of a service's binary: it answers --help and
// --version, reads C from the environment, and calls run until a signal ends
// it. about says in a line what the service does. With the argument health it
// asks the process that runs with the same environment how it is, or the URL
// that follows.
func Main[C any](about, version string, run func(ctx context.Context, c C, version string) error) {
	name := filepath.Base(os.Args[0])
	lifecycle.Main(func(ctx context.Context) error {
		var c C
		switch {
		case len(os.Args) == 1:
		case os.Args[1] == "--help" || os.Args[1] == "-h":
			fmt.Printf("%s %s %s\n\n%s health [URL] asks the /health of the one that runs here.\n\nIt is configured by the environment:\n\n", name, version, about, name)
			return config.Help(os.Stdout, &c)
		case os.Args[1] == "--version":
			fmt.Println(version)
			return nil
		case os.Args[1] == "health":
			return health(ctx, os.Args[2:])
		default:
			return fmt.Errorf("unknown argument %q: see --help", os.Args[1])
		}
		if err := config.Parse(&c, os.Environ()); err != nil {
			return err
		}
		return run(ctx, c, version)
	})
}

// health asks the given URL, or what this environment's telemetry serves.
func health(ctx context.Context, url []string) error {
	if len(url) > 0 {
		return AskHealth(ctx, url[0])
	}
	var t telemetry.Config
	if err := config.Parse(&t, config.Select(os.Environ(), t)); err != nil {
		return err
	}
	if t.OpsAddr == "" {
		return errors.New("HANGAR_OPS_ADDR is empty: nothing tells the health")
	}
	return AskHealth(ctx, healthURL(t.OpsAddr, t.OpsTLSCert != ""))
}
