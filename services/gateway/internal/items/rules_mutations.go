//go:build mutations

package items

import "os"

// keepsConcurrent can be switched off for the consistency tests: a write then
// supersedes whatever is there.
var keepsConcurrent = os.Getenv("MUTATION") != "concurrent-values"
