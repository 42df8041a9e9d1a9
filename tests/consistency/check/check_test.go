package check

import (
	"os"
	"strings"
	"testing"
	"time"
)

// after is an operation that follows on those before it.
func after(n int, o Op) Op {
	o.Client, o.Call, o.Return = n, time.Duration(2*n+1), time.Duration(2*n+2)
	if o.Verdict == "" {
		o.Verdict = Done
	}
	if o.Key == "" {
		o.Key = "k"
	}
	return o
}

// TestRegistersCatchLies: the model refuses what must not happen and takes
// what may.
func TestRegistersCatchLies(t *testing.T) {
	put := Op{Verb: Put, Value: "a"}
	lost := Op{Verb: Put, Value: "a", Verdict: Maybe}
	get := func(v string) Op { return Op{Verb: Get, Read: v} }
	for name, c := range map[string]struct {
		ops     []Op
		allowed bool
	}{
		"fresh read":                    {[]Op{put, get("a")}, true},
		"stale read":                    {[]Op{put, get("")}, false},
		"unwritten value":               {[]Op{put, get("b")}, false},
		"lost or not":                   {[]Op{lost, get("")}, true},
		"taken or not":                  {[]Op{lost, get("a")}, true},
		"taken late":                    {[]Op{lost, get(""), get("a")}, true},
		"read and unread":               {[]Op{lost, get("a"), get("")}, false},
		"create over":                   {[]Op{put, {Verb: PutAbsent, Value: "b"}}, false},
		"create refused":                {[]Op{put, {Verb: PutAbsent, Value: "b", Verdict: Failed}}, true},
		"create refused without reason": {[]Op{{Verb: PutAbsent, Value: "b", Verdict: Failed}}, false},
		"swap of what is not there":     {[]Op{put, {Verb: PutMatch, Value: "b", Want: "c"}}, false},
		"swap refused without a reason": {[]Op{put, {Verb: PutMatch, Value: "b", Want: "a", Verdict: Failed}}, false},
		"swap of nothing":               {[]Op{{Verb: PutMatch, Value: "b", Want: "a", Verdict: Missing}}, true},
		"two swaps of one base":         {[]Op{put, {Verb: PutMatch, Value: "b", Want: "a"}, {Verb: PutMatch, Value: "c", Want: "a"}}, false},
		"delete of another state":       {[]Op{put, {Verb: DelMatch, Want: "c"}}, false},
		"refused read says nothing":     {[]Op{put, {Verb: Get, Read: "x", Verdict: Refused}}, true},
		"refused write did nothing":     {[]Op{{Verb: Put, Value: "a", Verdict: Refused}, get("a")}, false},
		"keys apart":                    {[]Op{put, {Verb: Get, Key: "other", Read: ""}}, true},
	} {
		dir := t.TempDir()
		var history []Op
		for i, o := range c.ops {
			history = append(history, after(i, o))
		}
		r, err := Registers(history, time.Minute, dir)
		if err != nil || r.OK() != c.allowed {
			t.Errorf("%s: allowed is not %v: %+v, %v", name, c.allowed, r, err)
		}
		for _, f := range r.Files {
			if b, err := os.ReadFile(f); err != nil || !strings.Contains(string(b), "<html") {
				t.Errorf("%s: no picture of it: %v", name, err)
			}
		}
	}
}

func TestListingsCatchLies(t *testing.T) {
	put := Op{Verb: Put, Key: "p/a/1"}
	lost := Op{Verb: Put, Key: "p/a/1", Verdict: Maybe}
	del := Op{Verb: Delete, Key: "p/a/1"}
	maybe := Op{Verb: Delete, Key: "p/a/1", Verdict: Maybe}
	list := func(keys ...string) Op { return Op{Verb: List, Key: "p/", Keys: keys} }
	folders := func(keys ...string) Op { return Op{Verb: List, Key: "p/", Delimited: true, Keys: keys} }
	for name, c := range map[string]struct {
		ops     []Op
		allowed bool
	}{
		"there":                          {[]Op{put, list("p/a/1")}, true},
		"missing":                        {[]Op{put, list()}, false},
		"missing, but that is no answer": {[]Op{put, {Verb: List, Key: "p/", Verdict: Refused}}, true},
		"lost or not":                    {[]Op{lost, list()}, true},
		"taken or not":                   {[]Op{lost, list("p/a/1")}, true},
		"deleted":                        {[]Op{put, del, list()}, true},
		"back from the dead":             {[]Op{put, del, list("p/a/1")}, false},
		"written after its delete":       {[]Op{lost, del, list("p/a/1")}, true},
		"delete in doubt, there":         {[]Op{put, maybe, list("p/a/1")}, true},
		"delete in doubt, gone":          {[]Op{put, maybe, list()}, true},
		"never put":                      {[]Op{list("p/a/1")}, false},
		"put later":                      {[]Op{list("p/a/1"), put}, false},
		"twice":                          {[]Op{put, list("p/a/1", "p/a/1")}, false},
		"out of order":                   {[]Op{put, {Verb: Put, Key: "p/b/2"}, list("p/b/2", "p/a/1")}, false},
		"elsewhere":                      {[]Op{{Verb: Put, Key: "q/1"}, list()}, true},
		"folder there":                   {[]Op{put, {Verb: Put, Key: "p/a/2"}, folders("p/a/")}, true},
		"folder missing":                 {[]Op{put, folders()}, false},
		"folder of nothing":              {[]Op{put, del, folders("p/a/")}, false},
		"folder of what is left":         {[]Op{put, {Verb: Put, Key: "p/a/2"}, del, folders("p/a/")}, true},
		"folder missing, one is left":    {[]Op{put, {Verb: Put, Key: "p/a/2"}, del, folders()}, false},
	} {
		var history []Op
		for i, o := range c.ops {
			history = append(history, after(i, o))
		}
		if r := Listings(history); r.OK() != c.allowed {
			t.Errorf("%s: allowed is not %v: %v", name, c.allowed, r.Violations)
		}
	}
	// What happens during a listing may be in it or not.
	p, l := after(0, put), after(0, list())
	if r := Listings([]Op{p, l}); !r.OK() {
		t.Error(r.Violations)
	}
}

func TestJudged(t *testing.T) {
	for _, c := range []struct {
		verb    Verb
		status  int
		code    string
		want    Verdict
		allowed bool
	}{
		{Put, 200, "", Done, true},
		{Get, 206, "", Done, true},
		{Get, 404, "NoSuchKey", Done, true},
		{Get, 404, "NoSuchBucket", Maybe, false},
		{PutMatch, 404, "NoSuchKey", Missing, true},
		{PutAbsent, 412, "PreconditionFailed", Failed, true},
		{Get, 412, "PreconditionFailed", Failed, false},
		{Put, 503, "SlowDown", Maybe, true},
		{Get, 503, "SlowDown", Refused, true},
		{List, 0, "", Refused, true},
		{Delete, 0, "", Maybe, true},
		{Put, 409, "OperationAborted", Maybe, true},
		{Put, 507, "InsufficientStorage", Maybe, true},
		{Put, 403, "RequestTimeTooSkewed", Refused, true},
		{Put, 403, "AccessDenied", Maybe, false},
		{Put, 400, "InvalidRequest", Maybe, false},
	} {
		if got, allowed := Judged(c.verb, c.status, c.code); got != c.want || allowed != c.allowed {
			t.Errorf("%s answered %d %s: %s, %v", c.verb, c.status, c.code, got, allowed)
		}
	}
}

func TestAvailability(t *testing.T) {
	ms := time.Millisecond
	ops := []Op{
		{Verb: Get, Verdict: Done, Call: 0, Return: 2 * ms},
		{Verb: Put, Verdict: Maybe, Call: 8 * ms, Return: 20 * ms},
		{Verb: Put, Verdict: Refused, Call: 12 * ms, Return: 13 * ms},
	}
	var s strings.Builder
	if err := Availability(&s, ops, []Window{{"kill", 10 * ms, 15 * ms}}); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(s.String(), "\n")
	if len(lines) != 4 || strings.Join(strings.Fields(lines[1]), " ") != "calm 1 100.0 % 0.0 % 0.0 % 2ms 2ms" ||
		strings.Join(strings.Fields(lines[2]), " ") != "kill 2 0.0 % 50.0 % 50.0 % 12ms 12ms" {
		t.Error(s.String())
	}
}
