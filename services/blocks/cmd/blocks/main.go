// Command blocks runs one node of the block service of a Hangar cluster.
package main

import (
	"hangar/services/blocks"
	"hangar/shared/process"
)

// version is set when the binary is linked.
var version = "dev"

func main() {
	process.Main("runs one node of the block service of a Hangar cluster.", version, blocks.RunProcess)
}
