package httpapi

import (
	"encoding/json"
	"net/http"

	"github.com/gofiber/fiber/v2"

	"hangar/shared/object"
)

// routes registers every operation. Paths of the API that are not built answer
// NotImplemented, other paths NotFound.
func (s *Server) routes() {
	reads := map[string]func(call) (any, error){
		"GetClusterHealth":        getClusterHealth,
		"GetClusterStatus":        getClusterStatus,
		"GetClusterStatistics":    getClusterStatistics,
		"GetClusterLayout":        getClusterLayout,
		"GetClusterLayoutHistory": getClusterLayoutHistory,
		"ListKeys":                listKeys,
		"GetKeyInfo":              getKeyInfo,
		"ListBuckets":             listBuckets,
		"GetBucketInfo":           getBucketInfo,
	}
	changes := map[string]func(call) (any, error){
		"UpdateClusterLayout":         updateClusterLayout,
		"PreviewClusterLayoutChanges": previewClusterLayoutChanges,
		"ApplyClusterLayout":          applyClusterLayout,
		"RevertClusterLayout":         revertClusterLayout,
		"ClusterLayoutSkipDeadNodes":  clusterLayoutSkipDeadNodes,
		"AbortClusterLayoutChange":    abortClusterLayoutChange,
		"CreateKey":                   createKey,
		"ImportKey":                   importKey,
		"UpdateKey":                   updateKey,
		"DeleteKey":                   deleteKey,
		"CreateBucket":                createBucket,
		"DeleteBucket":                deleteBucket,
		"AllowBucketKey":              allowBucketKey,
		"DenyBucketKey":               denyBucketKey,
		"AddBucketAlias":              addBucketAlias,
		"RemoveBucketAlias":           removeBucketAlias,
	}
	for name, do := range reads {
		s.app.Get("/v2/"+name, s.operation(name, do))
		s.app.All("/v2/"+name, s.operation(name, wrongMethod))
	}
	for name, do := range changes {
		s.app.Post("/v2/"+name, s.operation(name, do))
		s.app.All("/v2/"+name, s.operation(name, wrongMethod))
	}
	s.app.All("/v2/*", s.operation("other", func(c call) (any, error) {
		return nil, &apiError{http.StatusNotImplemented, "NotImplemented", "this operation of the Admin API is not implemented"}
	}))
	s.app.Use(func(*fiber.Ctx) error {
		return &apiError{http.StatusNotFound, "NotFound", "there is nothing at this path; the Admin API is under /v2/"}
	})
}

func wrongMethod(call) (any, error) {
	return nil, &apiError{http.StatusMethodNotAllowed, "InvalidRequest", "this operation wants another HTTP method"}
}

// body reads the JSON body of a request. An empty one counts as {}.
func body[T any](c call) (v T, err error) {
	b := c.Request().Body() // as sent: no Content-Encoding is undone
	if len(b) == 0 {
		return v, nil
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return v, invalid("the body is not the JSON this operation wants: " + err.Error())
	}
	return v, nil
}

func parseBucket(id string) (object.BucketID, error) {
	b, err := object.ParseBucketID(id)
	if err != nil {
		return b, invalid(err.Error())
	}
	return b, nil
}

// nonNil makes an empty list of a missing one: clients expect [], not null.
func nonNil[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}
