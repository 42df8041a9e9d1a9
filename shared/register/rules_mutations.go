//go:build mutations

package register

import "os"

// lifted are the rules of the protocol that are switched off, as MUTATION says.
// A cluster built like this loses data; nothing but the consistency tests
// builds it.
var lifted = map[string]rule{
	"write-back":     ruleWriteBack,
	"committed-base": ruleCommittedBase,
	"fate":           ruleFate,
	"promise":        rulePromise,
}[os.Getenv("MUTATION")]
