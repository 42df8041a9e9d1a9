package wire

import (
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/google/jsonschema-go/jsonschema"

	"hangar/shared/nodeapi"
	"hangar/shared/object"
)

// NodeInfo describes the program that a node runs.
type NodeInfo struct {
	NodeID   object.NodeID `json:"nodeId"`
	Hostname *string       `json:"hostname"`
	// GarageVersion is Hangar's: the name is Garage's.
	GarageVersion  string   `json:"garageVersion" jsonschema:"the version of Hangar"`
	GarageFeatures []string `json:"garageFeatures"`
	RustVersion    string   `json:"rustVersion" jsonschema:"there is no Rust in Hangar: always a dash"`
	DBEngine       string   `json:"dbEngine"`
	// Extensions.
	Service   string     `json:"service"`
	Zone      string     `json:"zone,omitempty"`
	StartedAt *time.Time `json:"startedAt"`
}

// NodeStatistics is the answer of GetNodeStatistics for a node.
type NodeStatistics struct {
	Freeform string `json:"freeform"`
	// Directories is an extension: where a block node keeps its data.
	Directories       []nodeapi.Directory `json:"directories,omitempty"`
	TableStats        []TableStats        `json:"tableStats,omitempty"`
	BlockManagerStats *BlockManagerStats  `json:"blockManagerStats,omitempty"`
	// Rows and Blocks are extensions: all that nodes of the metadata and of the
	// block service tell; absent for nodes that could not be asked.
	Rows   *nodeapi.RowStatistics   `json:"rows,omitempty"`
	Blocks *nodeapi.BlockStatistics `json:"blocks,omitempty"`
	// Workers is an extension; absent for nodes that could not be asked.
	Workers []WorkerInfo `json:"workers,omitempty"`
}

// Connected says whether a node is known.
type Connected struct {
	Success bool    `json:"success"`
	Error   *string `json:"error"`
}

// RepairType is a word, or {"scrub": command}.
type RepairType nodeapi.Repair

var repairWords = []nodeapi.RepairKind{
	nodeapi.RepairTables, nodeapi.RepairBlocks, nodeapi.RepairVersions, nodeapi.RepairMultipartUploads,
	nodeapi.RepairBlockRefs, nodeapi.RepairBlockCounts, nodeapi.RepairRebalance, nodeapi.RepairAliases,
	nodeapi.RepairCounters, nodeapi.RepairClearResyncQueue,
}

var scrubWords = []string{"start", "pause", "resume", "cancel"}

// RepairTypeSchema is the JSON schema of a RepairType.
var RepairTypeSchema = &jsonschema.Schema{OneOf: []*jsonschema.Schema{
	{Type: "string", Enum: anyOf(repairWords)},
	{Type: "object", Required: []string{"scrub"}, Properties: map[string]*jsonschema.Schema{
		"scrub": {Type: "string", Enum: anyOf(scrubWords)},
	}},
}}

func anyOf[T ~string](words []T) (out []any) {
	for _, w := range words {
		out = append(out, string(w))
	}
	return out
}

// UnmarshalJSON implements json.Unmarshaler.
func (r *RepairType) UnmarshalJSON(b []byte) error {
	var word nodeapi.RepairKind
	if json.Unmarshal(b, &word) == nil {
		if !slices.Contains(repairWords, word) {
			return errors.New("repairType: there is no such repair")
		}
		r.Kind = word
		return nil
	}
	var command struct {
		Scrub *string `json:"scrub"`
	}
	if err := json.Unmarshal(b, &command); err != nil {
		return err
	}
	if command.Scrub == nil || !slices.Contains(scrubWords, *command.Scrub) {
		return errors.New("repairType: want a word, or scrub with start, pause, resume or cancel")
	}
	r.Kind, r.Scrub = nodeapi.RepairScrub, *command.Scrub
	return nil
}

// RepairOrder is the body of LaunchRepairOperation.
type RepairOrder struct {
	RepairType *RepairType `json:"repairType"`
}
