package resync

import (
	"context"
	"sync"
	"time"

	"hangar/services/blocks/internal/index"
	"hangar/shared/blockapi"
)

const (
	// maxVerdicts bounds the owners remembered.
	maxVerdicts = 1 << 16
	// How long verdicts are remembered. A dead owner stays dead. One that died
	// since is taken for alive for a moment: its references may be taken over
	// once more, and go again with the next comparison.
	aliveFor, deadFor = 5 * time.Second, time.Hour
	// verifyTimeout bounds one question.
	verifyTimeout = 30 * time.Second
)

// owners remembers for a while which owners live. Safe for concurrent use.
type owners struct {
	verifier blockapi.Verifier

	mu       sync.Mutex
	verdicts map[index.OwnerID]verdict // guarded by mu
}

type verdict struct {
	is    blockapi.Verdict
	until time.Time
}

func newOwners(v blockapi.Verifier) *owners {
	return &owners{verifier: v, verdicts: make(map[index.OwnerID]verdict)}
}

// known is what is remembered of an owner, or Unknown.
func (o *owners) known(owner blockapi.Owner) blockapi.Verdict {
	o.mu.Lock()
	defer o.mu.Unlock()
	v, ok := o.verdicts[index.IDOf(owner)]
	if !ok || time.Now().After(v.until) {
		return blockapi.Unknown
	}
	return v.is
}

// verify asks the metadata unless the answer is remembered. asked says that it
// did.
func (o *owners) verify(ctx context.Context, owner blockapi.Owner) (is blockapi.Verdict, asked bool, err error) {
	if is := o.known(owner); is != blockapi.Unknown || o.verifier == nil {
		return is, false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, verifyTimeout)
	defer cancel()
	is, err = o.verifier.Verify(ctx, owner)
	if err != nil {
		return blockapi.Unknown, true, err
	}
	v := verdict{is, time.Now().Add(aliveFor)}
	switch is {
	case blockapi.Alive:
	case blockapi.Dead:
		v.until = time.Now().Add(deadFor)
	default:
		return blockapi.Unknown, true, nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.verdicts) >= maxVerdicts {
		clear(o.verdicts)
	}
	o.verdicts[index.IDOf(owner)] = v
	return is, true, nil
}
