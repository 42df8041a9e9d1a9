// Command meta runs one metadata node of a Hangar cluster.
package main

import (
	"hangar/services/meta"
	"hangar/shared/process"
)

// version is set when the binary is linked.
var version = "dev"

func main() {
	process.Main("runs one metadata node of a Hangar cluster.", version, meta.RunProcess)
}
