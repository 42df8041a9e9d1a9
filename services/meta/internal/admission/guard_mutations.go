//go:build mutations

package admission

import "os"

// guarded is whether requests admitted by an older control state are refused,
// unless MUTATION says otherwise. See package register.
var guarded = os.Getenv("MUTATION") != "access-fence"
