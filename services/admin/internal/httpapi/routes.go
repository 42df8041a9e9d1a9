package httpapi

import (
	"net/http"
	"reflect"

	"github.com/gofiber/fiber/v2"
	"github.com/google/jsonschema-go/jsonschema"

	"hangar/services/admin/internal/openapi"
	"hangar/services/admin/internal/wire"
	"hangar/shared/object"
)

// The parameters that several operations have.
var (
	nodeParam   = openapi.Parameter{Name: "node", Required: true, Summary: "A node id, * for every node that can answer, self for the node that serves the request."}
	idParam     = openapi.Parameter{Name: "id", Required: true, Summary: "The exact id."}
	findByID    = openapi.Parameter{Name: "id", Summary: "The exact id."}
	findByName  = openapi.Parameter{Name: "search", Summary: "The beginning of an id or a name, which must fit only one."}
	findByAlias = openapi.Parameter{Name: "globalAlias", Summary: "The exact global name."}
	withSecret  = openapi.Parameter{Name: "showSecretKey", Type: "boolean", Summary: "Whether to answer the secret too; true only."}
	inBucket    = openapi.Parameter{Name: "bucketId", Required: true, Summary: "The exact id of the bucket."}
	ofKey       = openapi.Parameter{Name: "key", Required: true, Summary: "The key of the object."}
	ofDomain    = openapi.Parameter{Name: "domain", Required: true, Summary: "A host name."}
)

// The groups of operations.
const (
	tagCluster = "Cluster"
	tagLayout  = "Cluster layout"
	tagNode    = "Node"
	tagWorker  = "Worker"
	tagBlock   = "Block"
	tagKey     = "Access key"
	tagBucket  = "Bucket"
	tagAlias   = "Bucket alias"
	tagRights  = "Permission"
	tagToken   = "Admin API token"
	tagSpecial = "Special endpoints"
)

// operations is the API under /v2/.
func operations() []operation {
	return []operation{
		read("GetClusterHealth", tagCluster, "How many nodes and partitions are within reach.", getClusterHealth),
		read("GetClusterStatus", tagCluster, "The nodes of the cluster and their roles.", getClusterStatus),
		read("GetClusterStatistics", tagCluster, "What the cluster holds and how much room is left.", getClusterStatistics),
		write("ConnectClusterNodes", tagCluster, "Says of each node whether it is known: nodes find each other by themselves.", connectClusterNodes),

		read("GetClusterLayout", tagLayout, "The layout in force and what is staged.", getClusterLayout),
		read("GetClusterLayoutHistory", tagLayout, "The last versions of the layout.", getClusterLayoutHistory),
		write("UpdateClusterLayout", tagLayout, "Stages changes of roles and parameters.", updateClusterLayout),
		write("PreviewClusterLayoutChanges", tagLayout, "What applying the staged changes would do.", previewClusterLayoutChanges),
		write("ApplyClusterLayout", tagLayout, "Applies the staged changes. An error when the version is not the next one.", applyClusterLayout),
		write("RevertClusterLayout", tagLayout, "Drops the staged changes.", revertClusterLayout),
		write("ClusterLayoutSkipDeadNodes", tagLayout, "Lets a change go on without nodes that are down.", clusterLayoutSkipDeadNodes),
		write("AbortClusterLayoutChange", tagLayout, "Takes the change under way back. An extension.", abortClusterLayoutChange),

		read("GetNodeInfo", tagNode, "What programs nodes run.", getNodeInfo, nodeParam),
		read("GetNodeStatistics", tagNode, "How nodes are doing.", getNodeStatistics, nodeParam),
		slow(write("CreateMetadataSnapshot", tagNode, "Has nodes keep a copy of their metadata.", createMetadataSnapshot, nodeParam)),
		write("LaunchRepairOperation", tagNode, "Begins a repair in the background.", launchRepairOperation, nodeParam),

		write("ListWorkers", tagWorker, "The background work of nodes.", listWorkers, nodeParam),
		write("GetWorkerInfo", tagWorker, "One piece of background work.", getWorkerInfo, nodeParam),
		write("GetWorkerVariable", tagWorker, "Settings of background work.", getWorkerVariable, nodeParam),
		write("SetWorkerVariable", tagWorker, "Changes a setting of background work, durably.", setWorkerVariable, nodeParam),

		read("ListBlockErrors", tagBlock, "Blocks that could not be brought to where they belong.", listBlockErrors, nodeParam),
		write("GetBlockInfo", tagBlock, "Who refers to a block.", getBlockInfo, nodeParam),
		write("RetryBlockResync", tagBlock, "Tries failed blocks again now.", retryBlockResync, nodeParam),
		slow(write("PurgeBlocks", tagBlock, "Gives blocks up for lost: deletes every object that needs one. There is no way back.", purgeBlocks, nodeParam)),

		read("ListKeys", tagKey, "All access keys.", listKeys),
		read("GetKeyInfo", tagKey, "One access key.", getKeyInfo, findByID, findByName, withSecret),
		write("CreateKey", tagKey, "Makes an access key. The only other answers with its secret are GetKeyInfo's that ask for it.", createKey),
		write("ImportKey", tagKey, "Makes an access key with an id and a secret from elsewhere.", importKey),
		write("UpdateKey", tagKey, "Changes an access key.", updateKey, idParam),
		write("DeleteKey", tagKey, "Deletes an access key and its rights.", deleteKey, idParam),

		read("ListBuckets", tagBucket, "All buckets.", listBuckets),
		read("GetBucketInfo", tagBucket, "One bucket.", getBucketInfo, findByID, findByAlias, findByName),
		write("CreateBucket", tagBucket, "Makes a bucket.", createBucket),
		write("UpdateBucket", tagBucket, "Changes website access and quotas of a bucket.", updateBucket, idParam),
		write("DeleteBucket", tagBucket, "Deletes a bucket, which must be empty, and its names.", deleteBucket, idParam),
		slow(write("CleanupIncompleteUploads", tagBucket, "Throws old unfinished uploads away.", cleanupIncompleteUploads)),
		read("InspectObject", tagBucket, "What is stored of an object.", inspectObject, inBucket, ofKey),

		write("AddBucketAlias", tagAlias, "Gives a bucket a name: a global one, or one that a key alone knows.", addBucketAlias),
		write("RemoveBucketAlias", tagAlias, "Takes a name from a bucket.", removeBucketAlias),
		write("AllowBucketKey", tagRights, "Gives a key the rights that are true; others stay.", allowBucketKey),
		write("DenyBucketKey", tagRights, "Takes the rights that are true from a key; others stay.", denyBucketKey),

		read("ListAdminTokens", tagToken, "All admin tokens, those of the configuration included.", listAdminTokens),
		read("GetAdminTokenInfo", tagToken, "One admin token.", getAdminTokenInfo, findByID, findByName),
		read("GetCurrentAdminTokenInfo", tagToken, "The token of the request.", getCurrentAdminTokenInfo),
		write("CreateAdminToken", tagToken, "Makes an admin token. Its secret is in this answer and nowhere else.", createAdminToken),
		write("UpdateAdminToken", tagToken, "Changes an admin token.", updateAdminToken, idParam),
		write("DeleteAdminToken", tagToken, "Revokes an admin token.", deleteAdminToken, idParam),
	}
}

// special are the operations outside of /v2/.
var special = []openapi.Operation{
	{Name: "Health", Method: http.MethodGet, Path: "/health", Tag: tagSpecial, Open: true, Failures: []int{http.StatusServiceUnavailable},
		Summary: "200 when every request can be served, else 503; text for people."},
	{Name: "Metrics", Method: http.MethodGet, Path: "/metrics", Tag: tagSpecial,
		Summary: "Metrics in the format of Prometheus. Wants the metrics token, if one is configured, or a token with Metrics in its scope."},
	{Name: "CheckDomain", Method: http.MethodGet, Path: "/check", Tag: tagSpecial, Open: true, Failures: []int{http.StatusBadRequest},
		Parameters: []openapi.Parameter{ofDomain},
		Summary:    "200 when a bucket is served as a site under that name, else 400: for proxies that fetch certificates."},
}

// Document describes the API in the format of OpenAPI.
func Document() ([]byte, error) {
	all := append([]openapi.Operation{}, special...)
	for _, o := range operations() {
		all = append(all, o.Operation)
	}
	id := &jsonschema.Schema{Type: "string", Pattern: "^[0-9a-f]+$"}
	return openapi.API{
		Title: "Hangar Admin API", Version: "v2.3.0",
		Description: "Compatible with version 2 of Garage's Admin API; docs/admin-api.md names the differences.",
		Operations:  all,
		Problem:     reflect.TypeFor[wire.ErrorBody](),
		Schemas: map[reflect.Type]*jsonschema.Schema{
			reflect.TypeFor[object.BucketID]():     id,
			reflect.TypeFor[object.NodeID]():       id,
			reflect.TypeFor[wire.ZoneRedundancy](): wire.ZoneRedundancySchema,
			reflect.TypeFor[wire.WorkerState]():    wire.WorkerStateSchema,
			reflect.TypeFor[wire.RepairType]():     wire.RepairTypeSchema,
		},
	}.Document()
}

// routes registers every operation. What is not an operation of the API answers
// NotImplemented under /v2/, NotFound elsewhere.
func (s *Server) routes() error {
	document, err := Document()
	if err != nil {
		return err
	}
	s.app.Get("/v2/openapi.json", func(c *fiber.Ctx) error {
		c.Set(fiber.HeaderContentType, fiber.MIMEApplicationJSON)
		return c.Send(document)
	})
	for _, o := range operations() {
		s.names[o.Name] = true
		s.app.Add(o.Method, o.Path, s.handler(o))
		s.app.All(o.Path, s.handler(without(o.Name, &apiError{
			http.StatusMethodNotAllowed, "InvalidRequest", "this operation wants another HTTP method",
		})))
	}
	s.app.All("/v2/*", s.handler(without("other", &apiError{
		http.StatusNotImplemented, "NotImplemented", "the Admin API has no such operation",
	})))
	s.app.Use(func(*fiber.Ctx) error {
		return &apiError{http.StatusNotFound, "NotFound", "there is nothing at this path; the Admin API is under /v2/"}
	})
	return nil
}

// without is an operation that always fails.
func without(name string, err error) operation {
	return operation{
		Operation: openapi.Operation{Name: name}, timeout: requestTimeout,
		serve: func(call) (any, error) { return nil, err },
	}
}
