//go:build !mutations

package register

// lifted are the rules of the protocol that are switched off: none. Only a
// build with the tag mutations, made to show that the consistency tests bite,
// can switch any off.
const lifted rule = 0
