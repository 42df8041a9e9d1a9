//go:build mutations

package changes

import "os"

// tellsOthers can be switched off for the consistency tests.
var tellsOthers = os.Getenv("MUTATION") != "change-messages"
