package k2v

import (
	"cmp"
	"context"
	"iter"
	"time"
)

// watchPoll is how long one poll of a watch waits: less than what proxies on the
// way commonly allow a request.
const watchPoll = 50 * time.Second

// idle keeps a watch from asking in circles: a server that is about to stop ends
// polls at once.
func idle(ctx context.Context, began time.Time) error {
	if time.Since(began) >= time.Second {
		return ctx.Err()
	}
	timer := time.NewTimer(firstPause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Watch iterates over the states of an item that come after since: with the
// Token of a read, what that read did not see; with Unseen, or empty, the present
// one first, as soon as there is one. States that follow each other quickly may
// be seen as one, but the newest always is.
//
// It goes on over timeouts, lost connections and restarts of servers (see
// Options.OnRetry to hear of them), and ends when ctx does, with its error, or
// with the first error that another attempt does not mend. Whoever stops can go
// on later with the Token of the last item.
func (c *Client) Watch(ctx context.Context, partition, sort string, since Token) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		since := cmp.Or(since, Unseen)
		for {
			began := time.Now()
			item, changed, err := c.pollItem(ctx, partition, sort, since, watchPoll, true)
			if err == nil && !changed {
				err = idle(ctx, began)
			}
			if err != nil {
				yield(Item{}, err)
				return
			}
			if !changed {
				continue
			}
			since = item.Token
			if !yield(item, nil) {
				return
			}
		}
	}
}

// WatchRange iterates over changes of the items that q selects, as PollRange
// does: if seen is empty, what is there comes first, and comes even if it is
// nothing. No change is missed; one may come twice, above all after servers were
// restarted. It goes on and ends like Watch. Whoever stops can go on later with
// the last Seen.
func (c *Client) WatchRange(ctx context.Context, q Query, seen string) iter.Seq2[Changes, error] {
	return func(yield func(Changes, error) bool) {
		seen := seen
		for {
			began := time.Now()
			found, changed, err := c.pollRange(ctx, q, seen, watchPoll, true)
			if err == nil && !changed {
				err = idle(ctx, began)
			}
			if err != nil {
				yield(Changes{}, err)
				return
			}
			if !changed {
				continue
			}
			first := seen == ""
			seen = found.Seen
			if (first || len(found.Items) > 0) && !yield(found, nil) {
				return
			}
		}
	}
}
