package nodeapi

import (
	"context"

	"hangar/shared/object"
	"hangar/shared/rpc"
)

const opStatistics = "statistics"

// Statistics are figures of a storage node at one moment.
type Statistics struct {
	// Rows is nil for nodes that keep no rows, Blocks for those without blocks.
	Rows   *RowStatistics   `json:"rows,omitempty"`
	Blocks *BlockStatistics `json:"blocks,omitempty"`
}

// RowStatistics tell of the rows that a node holds, copies of what other nodes
// hold too.
type RowStatistics struct {
	Tables []TableStatistics `json:"tables"`
	// Rows of all tables, those without a value included.
	Rows int64 `json:"rows"`
	// VacantMore says that there are more rows without a value than were counted.
	VacantMore bool `json:"vacantMore,omitempty"`
	// DiskBytes are what rows and bodies take, with what is not needed any more.
	DiskBytes int64 `json:"diskBytes"`
	// Partitions that the node serves.
	Partitions int `json:"partitions"`
	// Comparing is what the comparing of replicas has come to.
	Comparing Comparing `json:"comparing"`
}

// OtherRows is the table of rows that are not counted by table: lists of blocks,
// and items of K2V that are deleted. Their bytes are not known.
const OtherRows = "other"

// TableStatistics tell of a table.
type TableStatistics struct {
	Name string `json:"name"`
	// Rows with a value, and the bytes that they count for: those of objects, of
	// parts, of values of items.
	Rows  int64 `json:"rows"`
	Bytes int64 `json:"bytes"`
	// Vacant rows have no value: they wait to be collected.
	Vacant int64 `json:"vacant"`
}

// Comparing tells of the comparing of this node with the others since its start.
type Comparing struct {
	Rounds       int64 `json:"rounds"`
	FailedRounds int64 `json:"failedRounds"`
	// Differing partitions in the last round with each other node, summed up, or
	// for blocks what comparing found lacking since the start.
	Differing int64 `json:"differing"`
	// Repaired since the start.
	Repaired int64 `json:"repaired"`
	// LastSuccess is when, in Unix seconds, the node was last through with every
	// other; 0 when it never was, or when that is not kept.
	LastSuccess int64 `json:"lastSuccess,omitempty"`
}

// BlockStatistics tell of the blocks that a node holds.
type BlockStatistics struct {
	Blocks int64 `json:"blocks"`
	// LiveBytes are those of blocks that somebody needs, DeadBytes what else the
	// segments have, as stored.
	LiveBytes int64 `json:"liveBytes"`
	DeadBytes int64 `json:"deadBytes"`
	Segments  int64 `json:"segments"`
	// UnverifiedOwners wait to be asked about: their blocks may be needed no more.
	UnverifiedOwners int64 `json:"unverifiedOwners"`
	// Wanted blocks wait to be fetched, referred to or replaced; Failing are those
	// of them whose last try failed. FailingMore says that there are more.
	Wanted      int64     `json:"wanted"`
	Failing     int64     `json:"failing"`
	FailingMore bool      `json:"failingMore,omitempty"`
	Comparing   Comparing `json:"comparing"`
}

// Counter is a node that can be asked for its figures. Safe for concurrent use.
// Errors: those of the store, Unavailable (the node does not offer it).
type Counter interface {
	Statistics(ctx context.Context) (Statistics, error)
}

var _ Counter = Remote{}

// ServeStatistics offers c as node self of a service.
func ServeStatistics(srv rpc.Server, service string, self object.NodeID, c Counter) (stop func(), err error) {
	return serve(srv, service, self,
		offer{opStatistics, handler(func(ctx context.Context, _ none) (Statistics, error) { return c.Statistics(ctx) })})
}

// Statistics implements Counter.
func (r Remote) Statistics(ctx context.Context) (s Statistics, err error) {
	return s, r.ask(ctx, opStatistics, none{}, &s)
}
