package process

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"hangar/shared/config"
	"hangar/shared/lifecycle"
)

// Main is the main function of a service's binary: it answers --help and
// --version, reads C from the environment, and calls run until a signal ends
// it. about says in a line what the service does.
func Main[C any](about, version string, run func(ctx context.Context, c C, version string) error) {
	name := filepath.Base(os.Args[0])
	lifecycle.Main(func(ctx context.Context) error {
		var c C
		switch {
		case len(os.Args) == 1:
		case os.Args[1] == "--help" || os.Args[1] == "-h":
			fmt.Printf("%s %s %s\n\nIt is configured by the environment:\n\n", name, version, about)
			return config.Help(os.Stdout, &c)
		case os.Args[1] == "--version":
			fmt.Println(version)
			return nil
		default:
			return fmt.Errorf("unknown argument %q: see --help", os.Args[1])
		}
		if err := config.Parse(&c, os.Environ()); err != nil {
			return err
		}
		return run(ctx, c, version)
	})
}
