//go:build !mutations

package admission

// guarded: requests admitted by an older control state are refused. Only a build
// with the tag mutations, made to show that the tests bite, can switch it off.
const guarded = true
