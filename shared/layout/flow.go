package layout

// network is a directed graph with bounded integer flows. Edge e and its
// reverse e^1 are stored side by side; left is the residual capacity.
type network struct {
	head  [][]int32 // vertex → edges leaving it
	to    []int32
	room  []int32
	price []int8
}

func newNetwork(vertices int) *network { return &network{head: make([][]int32, vertices)} }

// edge adds an edge and returns its number.
func (g *network) edge(from, to, capacity, cost int) int {
	e := len(g.to)
	g.to = append(g.to, int32(to), int32(from))
	g.room = append(g.room, int32(capacity), 0)
	g.price = append(g.price, int8(cost), int8(-cost))
	g.head[from] = append(g.head[from], int32(e))
	g.head[to] = append(g.head[to], int32(e+1))
	return e
}

// left is how much more edge e can carry.
func (g *network) left(e int) int { return int(g.room[e]) }

// push sends one unit along edges.
func (g *network) push(edges ...int) {
	for _, e := range edges {
		g.room[e]--
		g.room[e^1]++
	}
}

// augment raises the flow from s to t until it is maximal and reports whether
// it reached want (Dinic, 1970).
func (g *network) augment(s, t, want int) bool {
	flow := 0
	for _, e := range g.head[s] {
		flow += int(g.room[e^1])
	}
	level := make([]int32, len(g.head))
	next := make([]int32, len(g.head))
	for flow < want && g.levels(s, t, level) {
		clear(next)
		for g.advance(int32(s), int32(t), level, next) {
			flow++
		}
	}
	return flow >= want
}

// levels numbers vertices by distance from s; false when t cannot be reached.
func (g *network) levels(s, t int, level []int32) bool {
	for i := range level {
		level[i] = -1
	}
	level[s] = 0
	queue := []int32{int32(s)}
	for len(queue) > 0 {
		v := queue[0]
		queue = queue[1:]
		for _, e := range g.head[v] {
			if w := g.to[e]; g.room[e] > 0 && level[w] < 0 {
				level[w] = level[v] + 1
				queue = append(queue, w)
			}
		}
	}
	return level[t] >= 0
}

// advance sends one unit along a path of rising levels. The depth of the
// recursion is the length of a shortest path.
func (g *network) advance(v, t int32, level, next []int32) bool {
	if v == t {
		return true
	}
	for ; int(next[v]) < len(g.head[v]); next[v]++ {
		e := g.head[v][next[v]]
		w := g.to[e]
		if g.room[e] > 0 && level[w] == level[v]+1 && g.advance(w, t, level, next) {
			g.push(int(e))
			return true
		}
	}
	return false
}

// cancelNegativeCycles turns the flow into one of least cost with the same
// value (Klein, 1967). Every round looks for cycles with Bellman-Ford and
// cancels all disjoint ones it finds.
func (g *network) cancelNegativeCycles() {
	n := len(g.head)
	dist := make([]int32, n)
	via := make([]int32, n)
	mark := make([]int32, n)
	for {
		clear(dist)
		for i := range via {
			via[i] = -1
		}
		found := false
		for pass := 0; pass <= n && !found; pass++ {
			if !g.relax(dist, via) {
				return // no negative cycle is left
			}
			if pass%4 == 3 {
				found = g.cancelFound(via, mark)
			}
		}
		if !found && !g.cancelFound(via, mark) {
			return
		}
	}
}

// relax improves distances over every edge once.
func (g *network) relax(dist, via []int32) bool {
	changed := false
	for v := range g.head {
		d := dist[v]
		for _, e := range g.head[v] {
			if w := g.to[e]; g.room[e] > 0 && d+int32(g.price[e]) < dist[w] {
				dist[w] = d + int32(g.price[e])
				via[w] = e
				changed = true
			}
		}
	}
	return changed
}

// cancelFound looks for cycles in the predecessor graph (each is negative) and
// sends a unit around each.
func (g *network) cancelFound(via, mark []int32) bool {
	clear(mark)
	found := false
	for start := range via {
		walk := int32(start) + 1
		v := int32(start)
		for mark[v] == 0 && via[v] >= 0 {
			mark[v] = walk
			v = g.to[via[v]^1]
		}
		if via[v] < 0 || mark[v] != walk {
			continue
		}
		found = true
		for u := v; ; {
			e := via[u]
			g.push(int(e))
			u = g.to[e^1]
			if u == v {
				break
			}
		}
	}
	return found
}
