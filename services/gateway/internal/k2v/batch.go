package k2v

import (
	"net/http"

	"hangar/services/gateway/internal/httpd"
	"hangar/services/gateway/internal/items"
	"hangar/shared/causal"
)

// Limits of bodies, in bytes.
const (
	maxWritesBytes   = 16 << 20
	maxSearchesBytes = 4 << 20
	maxPollBytes     = 64 << 10
)

func (a *API) insertBatch(c *call) (*httpd.Response, error) {
	body, err := c.body(maxWritesBytes)
	if err != nil {
		return nil, err
	}
	var writes []items.Write
	err = decodeList(body, items.MaxBatchWrites, func(i int, in *insertRequest) error {
		w, err := in.write(i)
		writes = append(writes, w)
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := a.Items.InsertBatch(c.ctx, c.at.ID, writes); err != nil {
		return nil, err
	}
	return response(c.req, http.StatusNoContent), nil
}

func (in *insertRequest) write(i int) (w items.Write, err error) {
	switch {
	case in.Partition == nil:
		return w, fail(invalidRequest, "Item %d of the batch has no pk.", i+1)
	case in.Sort == nil:
		return w, fail(invalidRequest, "Item %d of the batch has no sk.", i+1)
	case !in.Value.given:
		return w, fail(invalidRequest, "Item %d of the batch has no v: null deletes.", i+1)
	}
	w.Partition, w.Sort = *in.Partition, *in.Sort
	w.Value = causal.Value{Data: in.Value.data, Deleted: in.Value.data == nil}
	if in.Token != nil {
		if w.Context, err = parseToken(*in.Token); err != nil {
			return w, fail(invalidToken, "Item %d of the batch: invalid causality token.", i+1)
		}
	}
	return w, nil
}

// searches reads the ranges of a batch.
func searches[T any](c *call, search func(*T) (*string, items.Search, error)) (all []items.Search, err error) {
	body, err := c.body(maxSearchesBytes)
	if err != nil {
		return nil, err
	}
	return all, decodeList(body, items.MaxBatchSearches, func(i int, in *T) error {
		partition, q, err := search(in)
		switch {
		case err != nil:
			return err
		case partition == nil:
			return fail(invalidRequest, "Search %d of the batch has no partitionKey.", i+1)
		}
		q.Partition = *partition
		all = append(all, q)
		return nil
	})
}

func (a *API) readBatch(c *call) (*httpd.Response, error) {
	all, err := searches(c, func(in *readRequest) (*string, items.Search, error) {
		return in.Partition, items.Search{Prefix: in.Prefix, Start: in.Start, End: in.End, Limit: in.Limit, Reverse: in.Reverse,
			Single: in.Single, Conflicts: in.Conflicts, Tombstones: in.Tombstones}, nil
	})
	if err != nil {
		return nil, err
	}
	if err := c.memory.Reserve(c.ctx, answerMemory(all)); err != nil {
		return nil, err
	}
	room := items.NewRoom()
	out := make([]readResponse, len(all))
	for i, q := range all {
		found, err := a.Items.Search(c.ctx, c.at.ID, q, &room)
		if err != nil {
			return nil, err
		}
		out[i] = readResponse{readEcho: readEcho{Partition: q.Partition, Prefix: q.Prefix, Start: q.Start, End: q.End, Limit: q.Limit, Reverse: q.Reverse,
			Single: q.Single, Conflicts: q.Conflicts, Tombstones: q.Tombstones},
			Items: itemsOut(found.Items), More: found.More}
		if found.More {
			out[i].NextStart = &found.Next
		}
	}
	return jsonResponse(c.req, out), nil
}

// answerMemory is what an answer may need: its values, and their JSON.
func answerMemory(all []items.Search) int64 {
	few := int64(0)
	for _, q := range all {
		if !q.Single && (q.Limit == nil || *q.Limit > 16) {
			return 3 * items.MaxPageBytes
		}
		few++
	}
	if few > 64 {
		return 3 * items.MaxPageBytes
	}
	return 0
}

func (a *API) deleteBatch(c *call) (*httpd.Response, error) {
	all, err := searches(c, func(in *deleteRequest) (*string, items.Search, error) {
		if in.foreign() {
			return nil, items.Search{}, fail(invalidRequest, "A deletion has no limit, reverse, conflictsOnly or tombstones: it would delete more than was meant.")
		}
		return in.Partition, items.Search{Prefix: in.Prefix, Start: in.Start, End: in.End, Single: in.Single}, nil
	})
	if err != nil {
		return nil, err
	}
	deleted, err := a.Items.DeleteBatch(c.ctx, c.at.ID, all)
	if err != nil {
		return nil, err
	}
	out := make([]deleteResponse, len(all))
	for i, q := range all {
		out[i] = deleteResponse{Partition: q.Partition, Prefix: q.Prefix, Start: q.Start, End: q.End, Single: q.Single, Deleted: deleted[i]}
	}
	return jsonResponse(c.req, out), nil
}

func (a *API) pollRange(c *call) (*httpd.Response, error) {
	body, err := c.body(maxPollBytes)
	if err != nil {
		return nil, err
	}
	var in pollRequest
	if err := decodeOne(body, &in); err != nil {
		return nil, err
	}
	timeout := uint64(defaultTimeout)
	if in.Timeout != nil {
		timeout = *in.Timeout
	}
	poll, err := a.Items.PollRange(items.Range{Bucket: c.at.ID, Partition: c.key, Prefix: in.Prefix, Start: in.Start, End: in.End, Seen: in.Seen})
	if err != nil {
		return nil, err
	}
	return wait(a, c, poll, timeout, func(r *httpd.Request, n *items.News) *httpd.Response {
		return jsonResponse(r, pollResponse{Items: itemsOut(n.Items), Seen: n.Seen})
	})
}
