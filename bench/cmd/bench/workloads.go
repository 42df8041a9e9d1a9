package main

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"

	"hangar/bench/load"
)

type workload struct {
	name    string
	clients int
	limit   int64 // operations per turn, so that a fast server fills no disk
	prepare func(c *load.Client) error
	work    func(c *load.Client) load.Work
	k2v     bool // it is about K2V, with a client of that
}

const (
	kib = 1 << 10
	mib = 1 << 20
)

func workloads() []workload {
	return []workload{
		{"PUT 10MiB", 8, 400, nil, putWork(10*mib, 8), false},
		{"GET 10MiB", 8, 2000, fill("get10m", 16, 10*mib), getWork("get10m", 16), false},
		{"PUT 4KiB", 16, 1 << 30, nil, putWork(4*kib, 16), false},
		{"GET 4KiB", 16, 1 << 30, fill("get4k", 1000, 4*kib), getWork("get4k", 1000), false},
		{"LIST 10000", 4, 1 << 30, fill("list", 10000, 64), listWork("list", 10000), false},
		{"MULTIPART 100MiB", 1, 20, nil, multipartWork(100*mib, 8*mib, 4), false},
	}
}

// bodies gives each client a buffer of incompressible bytes and makes every
// use of it different in every stretch of 512 KiB: equal blocks would be
// stored once.
type bodies struct {
	bufs [][]byte
	n    atomic.Uint64
}

func newBodies(clients, size int) *bodies {
	b := &bodies{}
	for i := range clients {
		buf := make([]byte, size)
		_, _ = rand.NewChaCha8([32]byte{byte(i), 1}).Read(buf) // never fails
		b.bufs = append(b.bufs, buf)
	}
	b.n.Store(rand.Uint64())
	return b
}

func (b *bodies) next(c int) []byte {
	buf := b.bufs[c]
	for off := 0; off+8 <= len(buf); off += 512 * kib {
		binary.LittleEndian.PutUint64(buf[off:], b.n.Add(1))
	}
	return buf
}

func putWork(size, clients int) func(*load.Client) load.Work {
	b := newBodies(clients, size)
	return func(cl *load.Client) load.Work {
		return func(c, i int) (int64, int64, error) {
			// Keys repeat, so that a long run overwrites instead of filling the disk.
			_, err := cl.Do("PUT", fmt.Sprintf("put%d/%d/%d", size, c, i%(max(1, 64*mib/size))), "", b.next(c), true)
			return int64(size), 0, err
		}
	}
}

func fill(prefix string, count, size int) func(*load.Client) error {
	return func(cl *load.Client) error {
		const workers = 16
		b := newBodies(workers, size)
		errs := make(chan error, workers)
		for w := range workers {
			go func() {
				for i := w; i < count; i += workers {
					if _, err := cl.Do("PUT", fmt.Sprintf("%s/%08d", prefix, i), "", b.next(w), true); err != nil {
						errs <- err
						return
					}
				}
				errs <- nil
			}()
		}
		var first error
		for range workers {
			if err := <-errs; err != nil {
				first = err
			}
		}
		return first
	}
}

func getWork(prefix string, count int) func(*load.Client) load.Work {
	return func(cl *load.Client) load.Work {
		return func(c, i int) (int64, int64, error) {
			r, err := cl.Do("GET", fmt.Sprintf("%s/%08d", prefix, (c*7919+i*31)%count), "", nil, false)
			return r.Bytes, 0, err
		}
	}
}

// listWork lists everything under prefix, page by page.
func listWork(prefix string, count int) func(*load.Client) load.Work {
	return func(cl *load.Client) load.Work {
		return func(int, int) (int64, int64, error) {
			var bytes, keys int64
			token := ""
			for {
				pairs := []string{"list-type", "2", "prefix", prefix + "/"}
				if token != "" {
					pairs = append(pairs, "continuation-token", token)
				}
				r, err := cl.Do("GET", "", load.Query(pairs...), nil, true)
				if err != nil {
					return bytes, keys, err
				}
				page := string(r.Body)
				bytes += r.Bytes
				keys += int64(strings.Count(page, "<Key>"))
				if token = between(page, "<NextContinuationToken>", "</NextContinuationToken>"); token == "" {
					break
				}
			}
			if keys != int64(count) {
				return bytes, keys, fmt.Errorf("listed %d of %d keys", keys, count)
			}
			return bytes, keys, nil
		}
	}
}

func between(s, before, after string) string {
	_, s, ok := strings.Cut(s, before)
	if !ok {
		return ""
	}
	s, _, _ = strings.Cut(s, after)
	return s
}

func multipartWork(size, part, workers int) func(*load.Client) load.Work {
	b := newBodies(workers, part)
	parts := (size + part - 1) / part
	return func(cl *load.Client) load.Work {
		return func(c, i int) (int64, int64, error) {
			key := fmt.Sprintf("multi/%d/%d", c, i%4)
			r, err := cl.Do("POST", key, "uploads", []byte{}, true)
			if err != nil {
				return 0, 0, err
			}
			upload := between(string(r.Body), "<UploadId>", "</UploadId>")
			etags := make([]string, parts)
			errs := make([]error, workers)
			var wg sync.WaitGroup
			for w := range workers {
				wg.Go(func() {
					for n := w; n < parts && errs[w] == nil; n += workers {
						body := b.next(w)[:min(part, size-n*part)]
						r, err := cl.Do("PUT", key, load.Query("partNumber", fmt.Sprint(n+1), "uploadId", upload), body, true)
						etags[n], errs[w] = r.ETag, err
					}
				})
			}
			wg.Wait()
			for _, err := range errs {
				if err != nil {
					return 0, 0, err
				}
			}
			var xml strings.Builder
			xml.WriteString("<CompleteMultipartUpload>")
			for n, etag := range etags {
				fmt.Fprintf(&xml, "<Part><PartNumber>%d</PartNumber><ETag>%s</ETag></Part>", n+1, etag)
			}
			xml.WriteString("</CompleteMultipartUpload>")
			_, err = cl.Do("POST", key, load.Query("uploadId", upload), []byte(xml.String()), true)
			return int64(size), 0, err
		}
	}
}
