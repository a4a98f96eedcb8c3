package eventloop

import (
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// Gate limits how many connections are open at once. Any number of listeners, of
// any loops, may share one.
type Gate struct {
	outer   *Gate // takes a place there too; may be nil
	mu      sync.Mutex
	max     int
	open    int
	waiting []*acceptor // found the gate full since the last leave; each once
}

// NewGate returns a gate for max connections. 0 means as many as the process may have open files,
// less a reserve.
func NewGate(max int) *Gate {
	if max == 0 {
		max = Descriptors()
	}
	return &Gate{max: max}
}

// NewGateWithin returns a gate for at most max of the connections of outer. Each connection takes a
// place at both gates.
func NewGateWithin(outer *Gate, max int) *Gate { return &Gate{outer: outer, max: max} }

// Descriptors returns how many file descriptors the process may use for connections.
func Descriptors() int { return fdLimit() - fdReserve }

// fdLimit returns how many file descriptors this process may have.
func fdLimit() int {
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err != nil || r.Cur > maxFDs {
		return maxFDs
	}
	return max(int(r.Cur), fdReserve+1)
}

// Open returns how many connections have a place now. Any goroutine may call it.
func (g *Gate) Open() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.open
}

// enter takes a place for one connection. If there is none, the gate calls a when one becomes free.
func (g *Gate) enter(a *acceptor) bool {
	if !g.take(a) {
		return false
	}
	if g.outer != nil && !g.outer.enter(a) {
		g.giveBack()
		return false
	}
	return true
}

// take is enter for this gate alone.
func (g *Gate) take(a *acceptor) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open >= g.max {
		if !slices.Contains(g.waiting, a) {
			g.waiting = append(g.waiting, a)
		}
		return false
	}
	g.open++
	return true
}

// leave gives a place back.
func (g *Gate) leave() {
	g.giveBack()
	if g.outer != nil {
		g.outer.leave()
	}
}

// giveBack is leave for this gate alone.
func (g *Gate) giveBack() {
	g.mu.Lock()
	g.open--
	waiting := g.waiting
	g.waiting = nil
	g.mu.Unlock()
	for _, a := range waiting {
		a.loop.Post(a.accept)
	}
}
