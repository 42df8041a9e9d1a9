//go:build !mutations

package table

// fenced: requests of older epochs are refused. Only a build with the tag
// mutations, made to show that the consistency tests bite, can switch it off.
const fenced = true
