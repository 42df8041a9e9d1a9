package objects

import (
	"errors"
)

// Errors that S3 names more precisely than a fault.Kind can. They are wrapped
// in a *fault.Error; test with errors.Is.
var (
	ErrNoSuchKey        = errors.New("no such key")
	ErrNoSuchUpload     = errors.New("no such upload")
	ErrInvalidPart      = errors.New("invalid part")
	ErrInvalidPartOrder = errors.New("invalid part order")
	ErrEntityTooSmall   = errors.New("part too small")
	ErrEntityTooLarge   = errors.New("object too large")
	ErrInvalidRange     = errors.New("range not satisfiable")
	ErrInvalidPartNum   = errors.New("no such part number")
	ErrNotModified      = errors.New("not modified")
	ErrBadDigest        = errors.New("checksum of the whole does not match")
	// ErrCopySelf: a copy onto itself that changes nothing.
	ErrCopySelf = errors.New("copy onto itself without change")
)
