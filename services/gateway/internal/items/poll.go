package items

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"strings"

	"hangar/services/gateway/internal/changes"
	"hangar/shared/causal"
	"hangar/shared/fault"
	"hangar/shared/metaapi"
	"hangar/shared/object"
)

// Poll waits for news. It is registered before anything is read, so that no
// write falls between. News is asked for by one goroutine at a time; Close must
// follow.
type Poll[T any] struct {
	*changes.Watcher
	// News reads what is new; nil is nothing, wait for the next change.
	News func(ctx context.Context) (*T, error)
}

// PollItem waits until the item has something that seen has not.
func (s *Service) PollItem(n Name, seen causal.Context) (*Poll[Item], error) {
	if err := n.check(); err != nil {
		return nil, err
	}
	w, err := s.hub.Watch(n.Bucket, n.Partition, func(sort string) bool { return sort == n.Sort })
	if err != nil {
		return nil, err
	}
	return &Poll[Item]{w, func(ctx context.Context) (*Item, error) {
		set, err := s.get(ctx, n)
		if err != nil || !set.Context().NewerThan(seen) {
			return nil, err
		}
		item := newItem(n.Sort, set)
		return &item, nil
	}}, nil
}

// Range is what a poll of several items is about.
type Range struct {
	Bucket             object.BucketID
	Partition          string
	Prefix, Start, End *string
	// Seen is the marker of an earlier poll; nil for all there is.
	Seen *string
}

// News are the items of a range that changed, deleted ones included.
type News struct {
	Items []Item
	// Seen is the marker to poll with next.
	Seen string
}

// PollRange waits until items of a range have changed since a marker was given
// out. Without a marker there is always an answer.
func (s *Service) PollRange(r Range) (*Poll[News], error) {
	if err := checkKey("partition key", r.Partition); err != nil {
		return nil, err
	}
	since := metaapi.SinceRange{Table: metaapi.Items, Bucket: r.Bucket, Key: r.Partition,
		Prefix: text(r.Prefix), From: text(r.Start), To: text(r.End), Limit: sinceRows}
	if r.Seen != nil {
		var err error
		if since.Mark, err = parseMarker(r.Bucket, r.Partition, *r.Seen); err != nil {
			return nil, err
		}
	}
	none := nothing(r.Start, r.End, false)
	if !strings.HasPrefix(since.From, since.Prefix) {
		// Unlike a search, a poll may start outside its prefix.
		none = none || since.From > since.Prefix
		since.From = ""
	}
	w, err := s.hub.Watch(r.Bucket, r.Partition, func(sort string) bool {
		return !none && strings.HasPrefix(sort, since.Prefix) && sort >= since.From && (since.To == "" || sort < since.To)
	})
	if err != nil {
		return nil, err
	}
	first := r.Seen == nil
	return &Poll[News]{w, func(ctx context.Context) (*News, error) {
		if none && !first {
			return nil, nil
		}
		news, mark, err := s.since(ctx, since, none)
		if err != nil || len(news.Items) == 0 && !first {
			if err == nil {
				since.Mark = mark
			}
			return nil, err
		}
		news.Seen = marker(r.Bucket, r.Partition, mark)
		return &news, nil
	}}, nil
}

// sinceRows is how many changed rows are asked for at once.
const sinceRows = 256

// since reads what changed, as much as there is room for. The mark covers what
// is returned and nothing else.
func (s *Service) since(ctx context.Context, r metaapi.SinceRange, none bool) (n News, mark metaapi.Mark, err error) {
	room := NewRoom()
	for {
		page, err := s.rows.Since(ctx, r)
		if err != nil {
			return n, nil, err
		}
		if none {
			return n, page.Next, nil
		}
		rows, err := entries(page.Entries)
		if err != nil {
			return n, nil, err
		}
		left, fits := room, true
		for _, e := range rows {
			fits = fits && left.take(e.head.Counters.Bytes+int64(len(e.sort))+itemOverhead)
		}
		if !fits && r.Limit > 1 {
			r.Limit /= 2 // the mark of a page is of all of it
			if len(n.Items) > 0 {
				return n, r.Mark, nil
			}
			continue
		}
		items, err := s.fetch(ctx, r.Bucket, r.Key, rows)
		if err != nil {
			return n, nil, err
		}
		room = left
		n.Items = append(n.Items, items...)
		r.Mark = page.Next
		if !page.More || !fits || room.Items <= 0 || room.Bytes <= 0 {
			return n, r.Mark, nil
		}
	}
}

// A marker names what it is of, so that one that came astray is refused, and
// holds a mark.
const (
	markerFormat   = 1
	markerOf       = 8
	maxMarkerBytes = 16 << 10
)

func markerHead(b object.BucketID, partition string) []byte {
	sum := sha256.Sum256(append(b[:], partition...))
	return append([]byte{markerFormat}, sum[:markerOf]...)
}

func marker(b object.BucketID, partition string, m metaapi.Mark) string {
	return base64.RawURLEncoding.EncodeToString(append(markerHead(b, partition), m...))
}

func parseMarker(b object.BucketID, partition, text string) (metaapi.Mark, error) {
	if len(text) <= maxMarkerBytes {
		raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
		if head := markerHead(b, partition); err == nil && strings.HasPrefix(string(raw), string(head)) {
			return raw[len(head):], nil
		}
	}
	return nil, fault.New(fault.Invalid, "seenMarker is not one of an earlier poll of this partition key")
}
