package httpapi

import (
	"context"
	"time"

	"hangar/services/admin/internal/ops"
	"hangar/services/admin/internal/wire"
	"hangar/shared/nodeapi"
	"hangar/shared/object"
)

func listBlockErrors(c call) (answers[[]wire.BlockError], error) {
	return ask(c, ops.BlockServiceOnly, ops.QuickAnswer, func(ctx context.Context, r nodeapi.Remote) ([]wire.BlockError, error) {
		list, err := r.BlockErrors(ctx)
		if err != nil {
			return nil, err
		}
		now, out := c.s.ops.Now(), []wire.BlockError{}
		for _, e := range list {
			out = append(out, wire.BlockError{
				BlockHash: e.Hash.String(), RefCount: e.References, ErrorCount: e.Errors,
				LastTrySecsAgo: wire.SecondsBetween(e.LastTry, now), NextTryInSecs: wire.SecondsBetween(now, e.NextTry), Message: e.Message,
			})
		}
		return out, nil
	})
}

func getBlockInfo(c call, in wire.WhichBlock) (out answers[wire.BlockInfo], err error) {
	hash, err := object.ParseHash(in.BlockHash)
	if err != nil {
		return out, invalid(err.Error())
	}
	return ask(c, ops.BlockServiceOnly, ops.QuickAnswer, func(ctx context.Context, r nodeapi.Remote) (wire.BlockInfo, error) {
		info, err := r.BlockInfo(ctx, hash)
		return wire.DescribeBlock(info), err
	})
}

func parseHashes(in []string) ([]object.Hash, error) {
	if err := tooMany(len(in)); err != nil {
		return nil, err
	}
	out := make([]object.Hash, 0, len(in))
	for _, text := range in {
		h, err := object.ParseHash(text)
		if err != nil {
			return nil, invalid(err.Error())
		}
		out = append(out, h)
	}
	return out, nil
}

func retryBlockResync(c call, in wire.RetryBlocks) (out answers[wire.RetriedBlocks], err error) {
	if in.All == (len(in.BlockHashes) > 0) {
		return out, invalid("give either all or blockHashes")
	}
	hashes, err := parseHashes(in.BlockHashes)
	if err != nil {
		return out, err
	}
	return ask(c, ops.BlockServiceOnly, ops.QuickAnswer, func(ctx context.Context, r nodeapi.Remote) (wire.RetriedBlocks, error) {
		n, err := r.RetryBlocks(ctx, hashes)
		return wire.RetriedBlocks{Count: n}, err
	})
}

func purgeBlocks(c call, in []string) (out answers[wire.PurgedBlocks], err error) {
	if len(in) == 0 {
		return out, invalid("name the blocks to be given up")
	}
	hashes, err := parseHashes(in)
	if err != nil {
		return out, err
	}
	return ask(c, ops.BlockServiceOnly, ops.SlowAnswer, func(ctx context.Context, r nodeapi.Remote) (wire.PurgedBlocks, error) {
		p, err := r.PurgeBlocks(ctx, hashes)
		return wire.PurgedBlocks{
			BlocksPurged: p.Blocks, ObjectsDeleted: p.Objects, UploadsDeleted: p.Uploads, VersionsDeleted: p.Versions, BlockRefsPurged: p.References,
		}, err
	})
}

func cleanupIncompleteUploads(c call, in wire.OlderThan) (out wire.CleanedUp, err error) {
	id, err := parseBucket(in.BucketID)
	if err != nil {
		return out, err
	}
	const century = int64(100 * 365 * 24 * time.Hour / time.Second)
	if in.OlderThanSecs == nil || *in.OlderThanSecs < 0 {
		return out, invalid("give olderThanSecs, which is not negative")
	}
	out.UploadsDeleted, err = c.s.ops.CleanUploads(c.ctx, id, time.Duration(min(*in.OlderThanSecs, century))*time.Second)
	return out, err
}
