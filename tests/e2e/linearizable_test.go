package e2e

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"hangar/tests/harness"
)

// verb is what a client asks of a key.
type verb string

const (
	getKey     verb = "get"
	putKey     verb = "put"
	putAbsent  verb = "put if absent"
	putMatch   verb = "put if match"
	deleteKey  verb = "delete"
	deleteSame verb = "delete if match"
)

// verdict is what it is told.
type verdict string

const (
	done    verdict = "done"
	failed  verdict = "condition failed"
	missing verdict = "no such key"
	// maybe: nobody knows whether it took effect, nor when it will have.
	maybe verdict = "maybe"
)

// operation is one request on a key. A value of "" is no object.
type operation struct {
	key         int
	verb        verb
	value, want string // written; demanded by a condition
}

type outcome struct {
	verdict verdict
	value   string // read
}

// registers is the model: each key holds one value.
var registers = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		byKey := map[int][]porcupine.Operation{}
		for _, o := range history {
			key := o.Input.(operation).key
			byKey[key] = append(byKey[key], o)
		}
		var all [][]porcupine.Operation
		for _, h := range byKey {
			all = append(all, h)
		}
		return all
	},
	Init: func() any { return "" },
	Step: func(state, input, output any) (bool, any) {
		in, out := input.(operation), output.(outcome)
		return step(state.(string), in, out)
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprint(input, " → ", output) },
}

func step(now string, in operation, out outcome) (bool, string) {
	holds, next := true, in.value
	switch in.verb {
	case getKey:
		return out.verdict == maybe || out.value == now, now
	case putAbsent:
		holds = now == ""
	case putMatch, deleteSame:
		holds = now == in.want
	}
	switch out.verdict {
	case done:
		return holds, next
	case failed:
		return !holds && (in.verb == putAbsent || now != ""), now
	case missing:
		return !holds && now == "", now
	}
	if holds {
		return true, next
	}
	return true, now
}

// contentOf is what stands for a value: some are kept in their row, some in
// blocks.
func contentOf(value string) []byte {
	if value[len(value)-1]%4 == 0 {
		return append([]byte(value+"\n"), make([]byte, 40<<10)...)
	}
	return []byte(value + "\n")
}

func etagOf(value string) *string {
	s := md5.Sum(contentOf(value))
	return aws.String(`"` + hex.EncodeToString(s[:]) + `"`)
}

// do runs one operation and says what came of it.
func (o operation) do(ctx context.Context, c *s3.Client) (outcome, error) {
	bucket, key := aws.String(harness.Bucket), aws.String(fmt.Sprint("hot-", o.key))
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var err error
	switch o.verb {
	case getKey:
		return read(ctx, c, bucket, key)
	case deleteKey, deleteSame:
		in := &s3.DeleteObjectInput{Bucket: bucket, Key: key}
		if o.verb == deleteSame {
			in.IfMatch = etagOf(o.want)
		}
		_, err = c.DeleteObject(ctx, in)
	default:
		in := &s3.PutObjectInput{Bucket: bucket, Key: key, Body: bytes.NewReader(contentOf(o.value))}
		switch o.verb {
		case putAbsent:
			in.IfNoneMatch = aws.String("*")
		case putMatch:
			in.IfMatch = etagOf(o.want)
		}
		_, err = c.PutObject(ctx, in)
	}
	return judge(err)
}

// judge maps an answer to a verdict; an error is an answer that none of these
// operations may get.
func judge(err error) (outcome, error) {
	var resp *awshttp.ResponseError
	switch {
	case err == nil:
		return outcome{verdict: done}, nil
	case !errors.As(err, &resp), resp.HTTPStatusCode() >= 500, resp.HTTPStatusCode() == 0:
		return outcome{verdict: maybe}, nil
	case resp.HTTPStatusCode() == http.StatusPreconditionFailed:
		return outcome{verdict: failed}, nil
	case resp.HTTPStatusCode() == http.StatusNotFound:
		return outcome{verdict: missing}, nil
	case resp.HTTPStatusCode() == http.StatusConflict:
		return outcome{verdict: maybe}, nil
	}
	return outcome{}, err
}

func read(ctx context.Context, c *s3.Client, bucket, key *string) (outcome, error) {
	out, err := c.GetObject(ctx, &s3.GetObjectInput{Bucket: bucket, Key: key})
	if err != nil {
		o, err := judge(err)
		if o.verdict == missing {
			o.verdict = done
		}
		return o, err
	}
	defer out.Body.Close()
	b, err := io.ReadAll(out.Body)
	if err != nil {
		return outcome{verdict: maybe}, nil //nolint:nilerr // a broken read says nothing
	}
	value, _, ok := bytes.Cut(b, []byte("\n"))
	if !ok || !bytes.Equal(contentOf(string(value)), b) {
		return outcome{}, fmt.Errorf("read %d bytes that nobody wrote: %.60q", len(b), b)
	}
	return outcome{done, string(value)}, nil
}

// history is what all clients did, with times.
type history struct {
	mu    sync.Mutex
	begin time.Time
	ops   []porcupine.Operation
	count map[verdict]int
}

func (h *history) add(client int, in operation, out outcome, call, ret time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.count[out.verdict]++
	end := int64(ret)
	if out.verdict == maybe {
		if in.verb == getKey {
			return // tells nothing, changes nothing
		}
		end = math.MaxInt64
	}
	h.ops = append(h.ops, porcupine.Operation{ClientId: client, Input: in, Output: out, Call: int64(call), Return: end})
}

// run is one client's life.
func (h *history) run(ctx context.Context, t *testing.T, client int, endpoints []string) {
	clients := make([]*s3.Client, len(endpoints))
	for i, e := range endpoints {
		clients[i] = harness.SDK(e, noRetry)
	}
	seen := map[int]string{}
	verbs := []verb{getKey, getKey, getKey, putKey, putAbsent, putMatch, putMatch, deleteKey, deleteSame}
	for n := 0; ctx.Err() == nil; n++ {
		in := operation{key: rand.IntN(4), verb: verbs[rand.IntN(len(verbs))]}
		if in.verb != getKey && in.verb != deleteKey && in.verb != deleteSame {
			in.value = fmt.Sprintf("%d-%d", client, n)
		}
		if in.want = seen[in.key]; in.want == "" && (in.verb == putMatch || in.verb == deleteSame) {
			in.verb, in.value = getKey, ""
		}
		call := time.Since(h.begin)
		// The operation outlives the end of the test, so that its fate is known.
		out, err := in.do(t.Context(), clients[rand.IntN(len(clients))])
		if err != nil {
			t.Errorf("%v: %v", in, err)
			return
		}
		h.add(client, in, out, call, time.Since(h.begin))
		switch {
		case out.verdict != done:
		case in.verb == getKey:
			seen[in.key] = out.value
		default:
			seen[in.key] = in.value
		}
	}
}

// TestKeysAreLinearizable: eight clients fight over four keys through two
// gateways while a metadata process dies. What they were told must fit one
// order of events.
func TestKeysAreLinearizable(t *testing.T) {
	c := harness.StartCluster(t, "--meta", "3", "--blocks", "3", "--gateways", "2")
	ctx, stop := context.WithCancel(testContext(t, 2*time.Minute))
	h := &history{begin: time.Now(), count: map[verdict]int{}}
	var wg sync.WaitGroup
	for client := range 8 {
		wg.Go(func() { h.run(ctx, t, client, c.S3) })
	}
	<-time.After(5 * time.Second) // the fault comes amid the load
	h.mu.Lock()
	calm := h.count[done]
	h.mu.Unlock()
	c.Signal("meta-2", syscall.SIGKILL)
	<-time.After(5 * time.Second)
	stop()
	wg.Wait()
	t.Logf("%d operations: %v, %d done before the fault", len(h.ops), h.count, calm)
	if after := h.count[done] - calm; calm < 100 || after < 100 {
		t.Errorf("%d operations done before the fault, %d after it: too few to mean something", calm, after)
	}
	switch porcupine.CheckOperationsTimeout(registers, h.ops, time.Minute) {
	case porcupine.Illegal:
		t.Error("no order of events explains what the clients were told")
	case porcupine.Unknown:
		t.Error("the history could not be checked in time")
	}
}

// TestRegistersCatchLies: the model refuses what must not happen and takes
// what may.
func TestRegistersCatchLies(t *testing.T) {
	put := operation{verb: putKey, value: "a"}
	get := operation{verb: getKey}
	for name, c := range map[string]struct {
		second  operation
		told    outcome
		first   verdict
		allowed bool
	}{
		"fresh read":                    {get, outcome{done, "a"}, done, true},
		"stale read":                    {get, outcome{done, ""}, done, false},
		"unwritten value":               {get, outcome{done, "b"}, done, false},
		"lost or not":                   {get, outcome{done, ""}, maybe, true},
		"taken or not":                  {get, outcome{done, "a"}, maybe, true},
		"create over":                   {operation{verb: putAbsent, value: "b"}, outcome{verdict: done}, done, false},
		"create refused":                {operation{verb: putAbsent, value: "b"}, outcome{verdict: failed}, done, true},
		"swap of what is not there":     {operation{verb: putMatch, value: "b", want: "c"}, outcome{verdict: done}, done, false},
		"swap refused without a reason": {operation{verb: putMatch, value: "b", want: "a"}, outcome{verdict: failed}, done, false},
		"delete of another state":       {operation{verb: deleteSame, want: "c"}, outcome{verdict: done}, done, false},
	} {
		h := &history{count: map[verdict]int{}}
		h.add(0, put, outcome{verdict: c.first}, 0, 1)
		h.add(1, c.second, c.told, 2, 3)
		if porcupine.CheckOperations(registers, h.ops) != c.allowed {
			t.Errorf("%s: allowed is not %v", name, c.allowed)
		}
	}
}
