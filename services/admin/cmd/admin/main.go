// Command admin changes a Hangar cluster: layout, keys, buckets.
package main

import (
	"context"
	"fmt"
	"os"

	"hangar/services/admin"
	"hangar/shared/config"
	"hangar/shared/lifecycle"
)

// version is set when the binary is linked.
var version = "dev"

func main() {
	lifecycle.Main(func(ctx context.Context) error {
		var c admin.ProcessConfig
		switch {
		case len(os.Args) == 1:
		case os.Args[1] == "--help" || os.Args[1] == "-h":
			fmt.Printf("admin %s serves the Admin API of a Hangar cluster.\n\nIt is configured by the environment:\n\n", version)
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
		return admin.RunProcess(ctx, c, version)
	})
}
