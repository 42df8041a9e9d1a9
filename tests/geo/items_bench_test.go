package geo

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"hangar/tests/harness"
	"hangar/tests/harness/geo"
	"hangar/tests/harness/netns"
)

// BenchmarkItems measures requests to K2V as BenchmarkRequests does those to
// S3, and how soon a poll is answered after a write was acknowledged.
func BenchmarkItems(b *testing.B) {
	for _, delay := range []time.Duration{50 * time.Millisecond, 150 * time.Millisecond} {
		b.Run(fmt.Sprintf("rtt=%v", 2*delay), func(b *testing.B) { benchmarkItems(b, delay) })
	}
}

// items is a K2V client in a zone, at the gateway there.
type items struct {
	http     *http.Client
	endpoint string
}

const tokenHeader = "X-Garage-Causality-Token"

// do makes a request and returns the causality token of the answer.
func (c *items) do(ctx context.Context, method, target, token, body string) (string, error) {
	const unsigned = "UNSIGNED-PAYLOAD"
	r, err := http.NewRequestWithContext(ctx, method, c.endpoint+"/"+harness.Bucket+target, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	r.Header.Set("X-Amz-Content-Sha256", unsigned)
	if token != "" {
		r.Header.Set(tokenHeader, token)
	}
	who := aws.Credentials{AccessKeyID: harness.AccessKey, SecretAccessKey: harness.SecretKey}
	if err := v4.NewSigner().SignHTTP(ctx, who, r, unsigned, "k2v", harness.Region, time.Now()); err != nil {
		return "", err
	}
	resp, err := c.http.Do(r)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode/100 != 2 {
		err = fmt.Errorf("%s %s: %s: %s", method, target, resp.Status, answer)
	}
	return resp.Header.Get(tokenHeader), err
}

func benchmarkItems(b *testing.B, delay time.Duration) {
	c := geo.Start(b, geo.Options{Link: netns.Link{Delay: delay}})
	at := func(zone int) *items {
		return &items{&http.Client{Transport: c.Client(zone).Transport()}, c.Process(fmt.Sprintf("gateway-%d", zone)).K2V()}
	}
	near, far := at(1), at(2)
	report := func(b *testing.B, took []time.Duration) {
		slices.Sort(took)
		rtt := float64(2 * delay)
		b.ReportMetric(0, "ns/op") // round trips say it
		b.ReportMetric(float64(took[len(took)/2])/rtt, "p50-rtt")
		b.ReportMetric(float64(took[len(took)*99/100])/rtt, "p99-rtt")
	}
	for _, r := range []struct {
		name string
		do   func(ctx context.Context, i int) error
	}{
		{"InsertItem", func(ctx context.Context, i int) error {
			_, err := near.do(ctx, http.MethodPut, fmt.Sprintf("/p?sort_key=%d", i), "", "content")
			return err
		}},
		{"ReadItem", func(ctx context.Context, _ int) error {
			_, err := near.do(ctx, http.MethodGet, "/p?sort_key=0", "", "")
			return err
		}},
		{"InsertBatch100", func(ctx context.Context, i int) error {
			_, err := near.do(ctx, http.MethodPost, "", "", batch(i))
			return err
		}},
		{"ReadBatch100", func(ctx context.Context, _ int) error {
			_, err := near.do(ctx, http.MethodPost, "?search=", "", `[{"partitionKey":"batch-0"}]`)
			return err
		}},
		{"ReadIndex", func(ctx context.Context, _ int) error {
			_, err := near.do(ctx, http.MethodGet, "", "", "")
			return err
		}},
	} {
		b.Run(r.name, func(b *testing.B) {
			var took []time.Duration
			for i := range b.N {
				began := time.Now()
				if err := r.do(b.Context(), i); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(began))
			}
			report(b, took)
		})
	}
	for _, p := range []struct {
		name   string
		waiter *items
	}{{"PollItem/SameGateway", near}, {"PollItem/OtherZone", far}} {
		b.Run(p.name, func(b *testing.B) {
			var took []time.Duration
			for range b.N {
				d, err := wake(b.Context(), near, p.waiter, 2*delay)
				if err != nil {
					b.Fatal(err)
				}
				took = append(took, d)
			}
			report(b, took)
		})
	}
}

// batch is a hundred writes to new items.
func batch(n int) string {
	type item struct {
		Partition string  `json:"pk"`
		Sort      string  `json:"sk"`
		Token     *string `json:"ct"`
		Value     string  `json:"v"`
	}
	all := make([]item, 100)
	for i := range all {
		all[i] = item{Partition: fmt.Sprintf("batch-%d", n), Sort: fmt.Sprint(i), Value: "Y29udGVudA=="}
	}
	text, err := json.Marshal(all)
	if err != nil {
		panic(err) // strings only
	}
	return string(text)
}

// wake is how long after a write was acknowledged a poll is answered that waits.
func wake(ctx context.Context, writer, waiter *items, rtt time.Duration) (time.Duration, error) {
	const item = "/p?sort_key=polled"
	if _, err := writer.do(ctx, http.MethodPut, item, "", "content"); err != nil {
		return 0, err
	}
	seen, err := writer.do(ctx, http.MethodGet, item, "", "")
	if err != nil {
		return 0, err
	}
	type outcome struct {
		at  time.Time
		err error
	}
	answered := make(chan outcome, 1)
	go func() {
		_, err := waiter.do(ctx, http.MethodGet, item+"&timeout=60&causality_token="+seen, "", "")
		answered <- outcome{time.Now(), err}
	}()
	time.Sleep(2*rtt + 100*time.Millisecond) // nobody says when a poll waits, but then it does
	if _, err := writer.do(ctx, http.MethodPut, item, seen, "content"); err != nil {
		return 0, err
	}
	acknowledged := time.Now()
	o := <-answered
	return max(0, o.at.Sub(acknowledged)), o.err
}
