package control

import (
	"encoding/json"
	"strings"

	"hangar/shared/fault"
	"hangar/shared/object"
)

// BucketName is the JetStream key-value bucket that holds the control state.
const BucketName = "hangar_control"

const (
	streamName    = "KV_" + BucketName
	subjectPrefix = "$KV." + BucketName + "."
	operationKey  = "KV-Operation" // header of a delete marker
)

// recordFormat is the version of every record's envelope and content. A reader
// refuses a higher one, so that an old process never acts on half a truth.
const recordFormat = 1

// envelope is how a record is stored.
type envelope struct {
	Format int             `json:"format"`
	Data   json.RawMessage `json:"data"`
}

// The keys of the control state. Those that end in a dot are prefixes.
const (
	keyCluster = "cluster"
	keyLayout  = "layout"
	keyStaged  = "layout-staged"
	keyHistory = "layout-history"
	keyLease   = "leader"
	prefixKey  = "key."
	prefixBkt  = "bucket."
	prefixName = "alias."
	prefixTok  = "token."
)

func keyOfKey(id string) string                 { return prefixKey + id }
func keyOfBucket(id object.BucketID) string     { return prefixBkt + id.String() }
func keyOfAlias(name string) string             { return prefixName + name }
func keyOfToken(id string) string               { return prefixTok + id }
func kindAndName(key string) (kind, nam string) { k, n, _ := strings.Cut(key, "."); return k, n }

// decidesAccess reports whether a record is of those by which requests are let
// in. The stream keeps the last message of each key, delete markers included,
// hence always the newest of these changes.
func decidesAccess(key string) bool {
	return strings.HasPrefix(key, prefixKey) || strings.HasPrefix(key, prefixBkt) || strings.HasPrefix(key, prefixName)
}

func encodeRecord(v any) ([]byte, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, fault.Wrap(fault.Internal, err, "encode control record")
	}
	return json.Marshal(envelope{Format: recordFormat, Data: data})
}

// decodeRecord reads a stored record into a value of type T.
func decodeRecord[T any](b []byte) (*T, error) {
	var e envelope
	if err := json.Unmarshal(b, &e); err != nil {
		return nil, fault.Wrap(fault.Corrupt, err, "control record")
	}
	if e.Format < 1 || e.Format > recordFormat {
		return nil, fault.New(fault.NotImplemented, "control record of format %d, newest known is %d", e.Format, recordFormat)
	}
	v := new(T)
	if err := json.Unmarshal(e.Data, v); err != nil {
		return nil, fault.Wrap(fault.Corrupt, err, "control record")
	}
	return v, nil
}
