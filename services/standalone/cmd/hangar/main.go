// Command hangar runs Hangar, in one process or as a development cluster, and
// is the command line of a running one.
package main

import (
	"context"

	"hangar/services/standalone"
	"hangar/services/standalone/internal/cli"
	"hangar/shared/lifecycle"
)

var version = "dev" // set by the linker

func main() {
	lifecycle.Main(func(ctx context.Context) error {
		return cli.Run(ctx, cli.New(version, standalone.Commands(version)))
	})
}
