package wire

import (
	"fmt"
	"strings"
	"time"

	"hangar/shared/nodeapi"
)

// TableStats has Garage's figures of a table. Digests are kept with the rows, and
// rows are written where they belong at once: the first two queues are empty.
type TableStats struct {
	TableName      string `json:"tableName"`
	Items          int64  `json:"items"`
	MerkleItems    int64  `json:"merkleItems" jsonschema:"rows that are in digests: with those that wait to be collected"`
	MerkleQueueLen int64  `json:"merkleQueueLen"`
	InsertQueueLen int64  `json:"insertQueueLen"`
	GCQueueLen     int64  `json:"gcQueueLen" jsonschema:"rows without a value that wait to be collected"`
	// Bytes is an extension: what the items count for.
	Bytes int64 `json:"bytes"`
}

// BlockManagerStats has Garage's figures of the blocks of a node.
type BlockManagerStats struct {
	RCEntries      int64 `json:"rcEntries" jsonschema:"blocks held"`
	ResyncQueueLen int64 `json:"resyncQueueLen"`
	ResyncErrors   int64 `json:"resyncErrors"`
}

// DescribeTables writes what is in the tables of nodes, added up.
func DescribeTables(nodes ...*nodeapi.RowStatistics) (out []TableStats) {
	at := map[string]int{}
	for _, n := range nodes {
		for _, t := range n.Tables {
			i, ok := at[t.Name]
			if !ok {
				i = len(out)
				at[t.Name], out = i, append(out, TableStats{TableName: t.Name})
			}
			out[i].Items += t.Rows
			out[i].MerkleItems += t.Rows + t.Vacant
			out[i].GCQueueLen += t.Vacant
			out[i].Bytes += t.Bytes
		}
	}
	return out
}

// TableText shows tables to people, in columns.
func TableText(all []TableStats) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-8s %12s %18s %12s\n", "TABLE", "ROWS", "BYTES", "TO COLLECT")
	for _, t := range all {
		fmt.Fprintf(&b, "%-8s %12d %18d %12d\n", t.TableName, t.Items, t.Bytes, t.GCQueueLen)
	}
	return b.String()
}

// BlockText shows blocks to people.
func BlockText(b *BlockManagerStats, liveBytes int64) string {
	return fmt.Sprintf("Blocks: %d, %d bytes; to bring or replace: %d, with errors: %d\n", b.RCEntries, liveBytes, b.ResyncQueueLen, b.ResyncErrors)
}

// DescribeBlocks writes what a node has of blocks.
func DescribeBlocks(b *nodeapi.BlockStatistics) *BlockManagerStats {
	return &BlockManagerStats{RCEntries: b.Blocks, ResyncQueueLen: b.Wanted, ResyncErrors: b.Failing}
}

// Add adds the figures of a node, in the fields of Garage, in ours and in words.
func (s *NodeStatistics) Add(f nodeapi.Statistics, now time.Time) {
	var b strings.Builder
	if r := f.Rows; r != nil {
		s.Rows, s.TableStats = r, DescribeTables(r)
		fmt.Fprintf(&b, "Rows: %d in %d partitions, %d bytes on disk\n", r.Rows, r.Partitions, r.DiskBytes)
		b.WriteString(TableText(s.TableStats))
		compared(&b, r.Comparing, now)
	}
	if k := f.Blocks; k != nil {
		s.Blocks, s.BlockManagerStats = k, DescribeBlocks(k)
		b.WriteString(BlockText(s.BlockManagerStats, k.LiveBytes))
		fmt.Fprintf(&b, "Segments: %d with %d bytes that nobody needs; owners to ask about: %d\n", k.Segments, k.DeadBytes, k.UnverifiedOwners)
		compared(&b, k.Comparing, now)
	}
	s.Freeform += b.String()
}

func compared(b *strings.Builder, c nodeapi.Comparing, now time.Time) {
	fmt.Fprintf(b, "Compared with other nodes since the start: %d rounds, %d failed, %d repaired", c.Rounds, c.FailedRounds, c.Repaired)
	if c.LastSuccess > 0 {
		fmt.Fprintf(b, ", last through with all %d s ago", SecondsBetween(time.Unix(c.LastSuccess, 0), now))
	}
	b.WriteByte('\n')
}
