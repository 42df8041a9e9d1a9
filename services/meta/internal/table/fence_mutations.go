//go:build mutations

package table

import "os"

// fenced is whether requests of older epochs are refused, unless MUTATION says
// otherwise. See package register.
var fenced = os.Getenv("MUTATION") != "epoch-fence"
