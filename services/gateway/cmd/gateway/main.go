// Command gateway serves the S3 API of a Hangar cluster.
package main

import (
	"hangar/services/gateway"
	"hangar/shared/process"
)

var version = "dev" // set by the linker

func main() {
	process.Main("serves the S3 API of a Hangar cluster.", version, gateway.RunProcess)
}
