package register

import (
	"flag"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

var (
	simSeeds = flag.Int("sim.seeds", 150, "seeds per mix of the simulation")
	simFrom  = flag.Uint64("sim.from", 1, "first seed of the simulation")
)

// model is a register of text: "" is no row.
var model = porcupine.Model{
	Init: func() any { return "" },
	Step: func(state, input, output any) (bool, any) {
		cur, in, out := state.(string), input.(*record), output.(Status)
		next, holds := in.value, true
		switch in.kind {
		case opGet, opRepair:
			return in.read == cur, cur
		case opDelete:
			next = ""
		case opAppend:
			next = cur + "+" + in.value
		case opDeleteIfMatch:
			next, holds = "", cur == in.match
		case opPutIfAbsent, opPutIfMatch:
			holds = cur == in.match
		}
		switch {
		case out == Declined:
			return !holds, cur
		case holds:
			return true, next
		default:
			return out == Indeterminate, cur
		}
	},
	DescribeOperation: func(in, out any) string {
		r := in.(*record)
		return fmt.Sprintf("%d %s match %s: %d %s", r.kind, r.value, r.match, out, r.read)
	},
}

// verdict is empty when the run kept its promises.
func (s *sim) verdict() string {
	if s.corrupt != "" {
		return "not what was written: " + s.corrupt
	}
	var ops []porcupine.Operation
	for _, r := range s.records {
		status := r.status
		if status == Pending {
			status = Indeterminate
		}
		if status == Unavailable || status == Rejected || (r.kind == opGet || r.kind == opRepair) && status != OK {
			continue // says that nothing happened: leave it out and it must be so
		}
		o := porcupine.Operation{ClientId: r.client, Input: r, Output: status, Call: r.call, Return: r.ret}
		if status == Indeterminate {
			o.Return = math.MaxInt64
		}
		ops = append(ops, o)
	}
	switch porcupine.CheckOperationsTimeout(model, ops, 10*time.Second) {
	case porcupine.Ok:
		return ""
	case porcupine.Unknown:
		return "" // not decided in time; other seeds are
	default:
		return "not linearizable:\n" + s.transcript()
	}
}

func (s *sim) transcript() string {
	var b strings.Builder
	names := [...]string{"put", "delete", "get", "put-if-absent", "put-if-match", "append", "delete-if-match", "repair"}
	for _, r := range s.records {
		fmt.Fprintf(&b, "[%d,%d] client %d %s %s match %q: status %d read %q rounds %d\n",
			r.call, r.ret, r.client, names[r.kind], r.value, r.match, r.status, r.read, r.rounds)
	}
	return b.String()
}

func mixes() []mix {
	base := mix{loss: 0.02, dup: 0.02, clients: 4, ops: 7, think: 25_000,
		put: 24, del: 8, get: 30, absent: 12, match: 16, apnd: 10, repair: 5}
	with := func(name string, change func(*mix)) mix {
		m := base
		m.name = name
		change(&m)
		return m
	}
	return []mix{
		with("contention", func(m *mix) { m.loss, m.dup, m.clients, m.think = 0, 0, 5, 15_000 }),
		with("network", func(m *mix) { m.loss, m.dup, m.tail = 0.06, 0.06, true }),
		with("clocks", func(m *mix) { m.wildClocks = true }),
		with("crashes", func(m *mix) { m.crash, m.gatewayCrash, m.reject = true, true, 0.05 }),
		with("partitions", func(m *mix) { m.partition, m.tail = true, true }),
		with("bounce", func(m *mix) { m.bounce, m.gatewayCrash, m.wildClocks, m.think = true, true, true, 12_000 }),
		with("layout", func(m *mix) { m.layout, m.wildClocks = true, true }),
		with("layout-fast", func(m *mix) {
			m.layout, m.layoutFast, m.wildClocks, m.gatewayCrash, m.tail = true, true, true, true, true
			m.loss, m.dup, m.think = 0.04, 0.04, 15_000
		}),
		with("forget", func(m *mix) {
			m.forget, m.layout, m.wildClocks, m.tail, m.del = true, true, true, true, 30
		}),
		with("return", func(m *mix) {
			m.forget, m.layout, m.layoutFast, m.wildClocks, m.del = true, true, true, true, 30
			m.loss, m.dup, m.ops = 0.04, 0.04, 12
		}),
		with("all", func(m *mix) {
			m.forget, m.layout, m.layoutFast, m.wildClocks, m.tail = true, true, true, true, true
			m.crash, m.gatewayCrash, m.partition, m.loss, m.dup, m.reject = true, true, true, 0.04, 0.04, 0.02
		}),
	}
}

func TestSimulation(t *testing.T) {
	for _, m := range mixes() {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			var ends [Indeterminate + 1]int
			for i := range *simSeeds {
				seed := *simFrom + uint64(i)
				s := newSim(seed, m, mutation{})
				s.play()
				if v := s.verdict(); v != "" {
					t.Fatalf("seed %d: %s", seed, v)
				}
				for _, r := range s.records {
					ends[r.status]++
				}
				if last := s.records[len(s.records)-1]; last.status != OK {
					t.Fatalf("seed %d: a read after all faults ended %d\n%s", seed, last.status, s.transcript())
				}
			}
			t.Logf("pending %d, ok %d, declined %d, rejected %d, unavailable %d, indeterminate %d",
				ends[0], ends[1], ends[2], ends[3], ends[4], ends[5])
		})
	}
}

// The same seed must give the same history, or no finding could be looked at.
func TestSimulationIsDeterministic(t *testing.T) {
	for _, m := range mixes() {
		var got [2]string
		for i := range got {
			s := newSim(7, m, mutation{})
			s.play()
			got[i] = s.transcript()
		}
		if got[0] != got[1] {
			t.Errorf("%s: two runs of a seed differ:\n%s\n%s", m.name, got[0], got[1])
		}
	}
}

// A checker that never objects proves nothing: without one of these rules,
// some seed must fail.
func TestCheckerBites(t *testing.T) {
	tests := []struct {
		mutation
		mix string
	}{
		{mutation{name: "no write-back", without: ruleWriteBack}, "network"},
		{mutation{name: "no promise check", noPromise: true}, "network"},
		{mutation{name: "no epoch fence", noEpochFence: true}, "layout-fast"},
		{mutation{name: "stale rows kept", keepStale: true}, "return"},
		{mutation{name: "412 on an uncommitted base", without: ruleCommittedBase}, "network"},
		{mutation{name: "fate not asked", without: ruleFate}, "network"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			for _, m := range mixes() {
				if m.name != test.mix {
					continue
				}
				for seed := range uint64(4000) {
					s := newSim(seed, m, test.mutation)
					s.play()
					if s.verdict() != "" {
						t.Logf("caught by seed %d", seed)
						return
					}
				}
			}
			t.Fatal("no seed caught it")
		})
	}
}

// In calm conditions a blind write and a read take one round, a conditional
// write two.
func TestCalmRounds(t *testing.T) {
	m := mix{calm: true, clients: 1, ops: 40, think: 20_000, put: 10, del: 5, get: 10, absent: 5, match: 10, apnd: 5}
	want := map[opKind]int{opPut: 1, opDelete: 1, opGet: 1, opAppend: 2, opPutIfAbsent: 2, opPutIfMatch: 2, opDeleteIfMatch: 2, opRepair: 1}
	for seed := range uint64(20) {
		s := newSim(seed, m, mutation{})
		s.play()
		if v := s.verdict(); v != "" {
			t.Fatalf("seed %d: %s", seed, v)
		}
		for _, r := range s.records {
			rounds := want[r.kind]
			if r.status == Declined {
				rounds = 1 // nothing to write
			}
			if r.rounds != rounds {
				t.Fatalf("seed %d: kind %d took %d rounds, want %d\n%s", seed, r.kind, r.rounds, rounds, s.transcript())
			}
		}
	}
}
