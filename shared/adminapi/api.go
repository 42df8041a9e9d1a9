// Package adminapi is the contract between gateways and the admin service:
// what S3 requests change in control state goes through it, so that a gateway
// needs no right to write control state itself.
package adminapi

import (
	"context"

	"hangar/shared/object"
)

// Buckets creates and deletes buckets on behalf of S3 clients. Safe for
// concurrent use. A nil error means that the change is durable and that every
// live gateway has applied it, or that the barrier's time limit passed.
type Buckets interface {
	// Create makes a bucket with a global alias and gives keyID all rights on
	// it. Errors: AlreadyExists (the name is taken), Denied (the key may not
	// create buckets), Invalid (the name).
	Create(ctx context.Context, keyID, name string) (object.BucketID, error)
	// Delete removes an empty bucket. The key must own it. Errors: NotFound,
	// Denied, NotEmpty.
	Delete(ctx context.Context, keyID string, bucket object.BucketID) error
}
