//go:build !mutations

package changes

// tellsOthers: a gateway that wrote says so to the others.
const tellsOthers = true
