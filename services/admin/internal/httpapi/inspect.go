package httpapi

import (
	"fmt"

	"hangar/services/admin/internal/wire"
	"hangar/shared/object"
)

func inspectObject(c call) (out wire.InspectedObject, err error) {
	id, err := parseBucket(c.Query("bucketId"))
	if err != nil {
		return out, err
	}
	key := c.Query("key")
	if key == "" || len(key) > object.MaxKeyBytes {
		return out, invalid(fmt.Sprintf("give a key, of at most %d bytes", object.MaxKeyBytes))
	}
	versions, err := c.s.ops.Inspect(c.ctx, id, key)
	if err != nil {
		return out, err
	}
	out = wire.InspectedObject{BucketID: id, Key: key, Versions: []wire.ObjectVersion{}}
	for _, v := range versions {
		out.Versions = append(out.Versions, wire.DescribeVersion(v))
	}
	return out, nil
}
