//go:build !mutations

package items

// keepsConcurrent: a write supersedes what its token covers and nothing else.
const keepsConcurrent = true
