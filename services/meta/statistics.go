package meta

import (
	"context"

	"hangar/services/meta/internal/table"
	"hangar/shared/metaapi"
	"hangar/shared/nodeapi"
)

// counted are the tables whose rows say what they count for, in the order in which
// they are shown.
var counted = []struct {
	name  string
	table metaapi.Table
}{
	{"objects", metaapi.Objects}, {"uploads", metaapi.Uploads}, {"parts", metaapi.Parts}, {"items", metaapi.Items},
}

// Statistics implements nodeapi.Counter.
func (o *operations) Statistics(ctx context.Context) (all nodeapi.Statistics, err error) {
	sizes, err := o.node.rows.Sizes(ctx)
	if err != nil {
		return all, err
	}
	served, _, _ := o.node.members.Counts()
	done := o.compare.Stats()
	all.Rows = &nodeapi.RowStatistics{
		Tables: byTable(sizes), Rows: sizes.Rows, VacantMore: sizes.VacantMore, DiskBytes: o.node.rows.DiskBytes(), Partitions: served,
		Comparing: nodeapi.Comparing{
			Rounds: done.Rounds.Load(), FailedRounds: done.Failures.Load(), Differing: done.Differing.Load(),
			Repaired: done.Repaired.Load(), LastSuccess: done.LastSuccess.Load(),
		},
	}
	return all, nil
}

// byTable puts what is in no counter into the last table: rows that were only
// promised, and vacant ones beyond those looked at, make it no more than about right.
func byTable(s table.Sizes) []nodeapi.TableStatistics {
	other := nodeapi.TableStatistics{Name: nodeapi.OtherRows, Rows: s.Rows, Vacant: s.Vacant[metaapi.Manifests]}
	var out []nodeapi.TableStatistics
	for _, t := range counted {
		live := s.Live[t.table]
		out = append(out, nodeapi.TableStatistics{Name: t.name, Rows: live.Count, Bytes: live.Bytes, Vacant: s.Vacant[t.table]})
		other.Rows -= live.Count + s.Vacant[t.table]
	}
	other.Rows = max(other.Rows-other.Vacant, 0)
	return append(out, other)
}
