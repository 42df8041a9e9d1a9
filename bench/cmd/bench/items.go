package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync/atomic"

	"hangar/bench/load"
)

const (
	valueBytes  = kib
	batchItems  = 100
	searchItems = 1000
	itemClients = 16

	insertName = "K2V InsertItem 1KiB"
	batchName  = "K2V InsertBatch 100"
	// alone is added to the names of those with one client.
	alone = ", alone"
)

// itemWorkloads are those of K2V. Writes go to items of their own: one without
// a causality token would be kept beside what is there.
func itemWorkloads() []workload {
	return []workload{
		{insertName, itemClients, 1 << 30, nil, insertWork(), true},
		{batchName, itemClients, 1 << 30, nil, insertBatchWork(), true},
		{insertName + alone, 1, 1 << 30, nil, insertWork(), true},
		{batchName + alone, 1, 1 << 30, nil, insertBatchWork(), true},
		{"K2V InsertBatch 100 partition keys", 1, 1 << 30, nil, spreadBatchWork(), true},
		{"K2V ReadItem 1KiB", itemClients, 1 << 30, fillItems("read"), readItemWork("read"), true},
		{"K2V ReadBatch 1000", 4, 1 << 30, fillItems("search"), readBatchWork("search"), true},
	}
}

// compareInserts says how much faster batches are.
func compareInserts(out io.Writer, ours *side) {
	for _, clients := range []string{"", alone} {
		if one, many := ours.items[insertName+clients], ours.items[batchName+clients]; one > 0 && many > 0 {
			fmt.Fprintf(out, "InsertBatch writes %.1f times as many items per second as InsertItem%s\n", many/one, clients)
		}
	}
}

// serial numbers sort keys, so that none is written twice in one run.
var serial atomic.Int64

func sortKey(n int64) string { return fmt.Sprintf("%08d", n) }

// insertItem writes one item without a token.
func insertItem(cl *load.Client, partition, sort string, value []byte) error {
	_, err := cl.Do("PUT", partition, load.Query("sort_key", sort), value, true)
	return err
}

func insertWork() func(*load.Client) load.Work {
	b := newBodies(itemClients, valueBytes)
	return func(cl *load.Client) load.Work {
		return func(c, _ int) (int64, int64, error) {
			return valueBytes, 1, insertItem(cl, fmt.Sprintf("insert-%d", c), sortKey(serial.Add(1)), b.next(c))
		}
	}
}

// item is one write of a batch.
type item struct {
	Partition string  `json:"pk"`
	Sort      string  `json:"sk"`
	Token     *string `json:"ct"`
	Value     string  `json:"v"`
}

func insertBatch(cl *load.Client, partition string, first int64, n int, value []byte) error {
	batch := make([]item, n)
	text := base64.StdEncoding.EncodeToString(value)
	for i := range batch {
		batch[i] = item{Partition: partition, Sort: sortKey(first + int64(i)), Value: text}
	}
	return writeBatch(cl, batch)
}

func writeBatch(cl *load.Client, batch []item) error {
	body, err := json.Marshal(batch)
	if err != nil {
		return err
	}
	_, err = cl.Do("POST", "", "", body, true)
	return err
}

func insertBatchWork() func(*load.Client) load.Work {
	b := newBodies(itemClients, valueBytes)
	return func(cl *load.Client) load.Work {
		return func(c, _ int) (int64, int64, error) {
			first := serial.Add(batchItems) - batchItems + 1
			return batchItems * valueBytes, batchItems, insertBatch(cl, fmt.Sprintf("batch-%d", c), first, batchItems, b.next(c))
		}
	}
}

// spreadBatchWork writes batches whose items are each of another partition key,
// so that nothing of them can go together.
func spreadBatchWork() func(*load.Client) load.Work {
	text := base64.StdEncoding.EncodeToString(newBodies(1, valueBytes).next(0))
	return func(cl *load.Client) load.Work {
		return func(int, int) (int64, int64, error) {
			batch := make([]item, batchItems)
			for i := range batch {
				batch[i] = item{Partition: fmt.Sprintf("spread-%d", i), Sort: sortKey(serial.Add(1)), Value: text}
			}
			return batchItems * valueBytes, batchItems, writeBatch(cl, batch)
		}
	}
}

// fillItems makes the items that are read.
func fillItems(partition string) func(*load.Client) error {
	return func(cl *load.Client) error {
		value := newBodies(1, valueBytes).next(0)
		for first := int64(0); first < searchItems; first += batchItems {
			if err := insertBatch(cl, partition, first, batchItems, value); err != nil {
				return err
			}
		}
		return nil
	}
}

func readItemWork(partition string) func(*load.Client) load.Work {
	return func(cl *load.Client) load.Work {
		return func(c, i int) (int64, int64, error) {
			r, err := cl.Do("GET", partition, load.Query("sort_key", sortKey(int64(c*7919+i*31)%searchItems)), nil, false)
			return r.Bytes, 1, err
		}
	}
}

func readBatchWork(partition string) func(*load.Client) load.Work {
	body := []byte(`[{"partitionKey":"` + partition + `"}]`)
	return func(cl *load.Client) load.Work {
		return func(int, int) (int64, int64, error) {
			r, err := cl.Do("POST", "", "search=", body, true)
			if err != nil {
				return 0, 0, err
			}
			if n := strings.Count(string(r.Body), `"sk":`); n != searchItems {
				return 0, 0, fmt.Errorf("%d items of %d", n, searchItems)
			}
			return r.Bytes, searchItems, nil
		}
	}
}
