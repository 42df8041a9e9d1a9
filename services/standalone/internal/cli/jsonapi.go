package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"hangar/services/standalone/internal/adminclient"
)

func jsonCommand(c *client) *cobra.Command {
	return &cobra.Command{
		Use: "json-api OPERATION [JSON]", GroupID: "care", Short: "Call any operation of the Admin API", Args: cobra.RangeArgs(1, 2),
		Long: `Call any operation of the Admin API and print its JSON. JSON holds the parameters
of the operation; - reads it from standard input. An operation that has parameters
and a body takes the body as the member "body".`,
		ValidArgsFunction: args(false, words(operations...), nil),
		Example: `  hangar json-api GetClusterStatus
  hangar json-api GetBucketInfo '{"globalAlias": "photos"}'
  hangar json-api CreateKey '{"name": "phone"}'
  hangar json-api UpdateKey '{"id": "GK0123456789abcdef01234567", "body": {"name": "old phone"}}'
  hangar json-api ListWorkers '{"node": "*", "body": {"busyOnly": true}}'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			text := "{}"
			if len(args) > 1 {
				text = args[1]
			}
			if text == "-" {
				b, err := io.ReadAll(cmd.InOrStdin())
				if err != nil {
					return err
				}
				text = string(b)
			}
			r, err := rawRequest(args[0], []byte(text))
			if err != nil {
				return wrong(err)
			}
			a, err := c.call(cmd, r)
			if err != nil {
				return err
			}
			return a.Write(cmd.OutOrStdout())
		},
	}
}

// asking are operations that change nothing and are asked with POST, since they
// have a body.
var asking = []string{"GetBlockInfo", "GetWorkerInfo", "GetWorkerVariable", "ListWorkers"}

// methodOf is the HTTP method of an operation.
func methodOf(op string) string {
	for _, asks := range []string{"Get", "List", "Inspect"} {
		if strings.HasPrefix(op, asks) && !slices.Contains(asking, op) {
			return http.MethodGet
		}
	}
	return http.MethodPost
}

// operations are those of the Admin API that a shell offers.
var operations = []string{
	"AbortClusterLayoutChange", "AddBucketAlias", "AllowBucketKey", "ApplyClusterLayout", "CleanupIncompleteUploads",
	"ClusterLayoutSkipDeadNodes", "ConnectClusterNodes", "CreateAdminToken", "CreateBucket", "CreateKey", "CreateMetadataSnapshot",
	"DeleteAdminToken", "DeleteBucket", "DeleteKey", "DenyBucketKey", "GetAdminTokenInfo", "GetBlockInfo", "GetBucketInfo",
	"GetClusterHealth", "GetClusterLayout", "GetClusterLayoutHistory", "GetClusterStatistics", "GetClusterStatus",
	"GetCurrentAdminTokenInfo", "GetKeyInfo", "GetNodeInfo", "GetNodeStatistics", "GetWorkerInfo", "GetWorkerVariable",
	"ImportKey", "InspectObject", "LaunchRepairOperation", "ListAdminTokens", "ListBlockErrors", "ListBuckets", "ListKeys",
	"ListWorkers", "PreviewClusterLayoutChanges", "PurgeBlocks", "RemoveBucketAlias", "RetryBlockResync", "RevertClusterLayout",
	"SetWorkerVariable", "UpdateAdminToken", "UpdateBucket", "UpdateClusterLayout", "UpdateKey",
}

// rawRequest turns an operation and its parameters into a request: operations
// that only tell something take all in the query. Of the others id and node
// are in the query if nothing else is there beside them and body.
func rawRequest(op string, text []byte) (adminclient.Request, error) {
	r := adminclient.Request{Method: http.MethodPost, Operation: op, Body: json.RawMessage(text)}
	if strings.Trim(op, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" || op == "" {
		return r, fmt.Errorf("%q is no operation: want one such as GetClusterStatus", op)
	}
	if !json.Valid(text) {
		return r, fmt.Errorf("the parameters are no JSON: want such as '{\"id\": \"…\"}'")
	}
	var members map[string]json.RawMessage
	isObject := json.Unmarshal(text, &members) == nil
	tells := methodOf(op) == http.MethodGet
	if tells && !isObject {
		return r, fmt.Errorf("%s wants its parameters as an object", op)
	}
	query := url.Values{}
	rest := 0
	for name, value := range members {
		switch {
		case name == "body" && !tells:
		case tells || name == "id" || name == "node":
			s := string(value)
			var word string
			if json.Unmarshal(value, &word) == nil {
				s = word
			}
			query.Set(name, s)
		default:
			rest++
		}
	}
	body, split := members["body"]
	switch {
	case tells:
		r.Method, r.Body, r.Query = http.MethodGet, nil, query
	case rest == 0 && (split || len(query) > 0):
		r.Query, r.Body = query, nil
		if split {
			r.Body = body
		}
	}
	return r, nil
}
