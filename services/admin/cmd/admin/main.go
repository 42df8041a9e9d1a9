// Command admin serves the Admin API of a Hangar cluster.
package main

import (
	"hangar/services/admin"
	"hangar/shared/process"
)

var version = "dev" // set by the linker

func main() {
	process.Main("serves the Admin API of a Hangar cluster.", version, admin.RunProcess)
}
