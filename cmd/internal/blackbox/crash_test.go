package blackbox

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"
	"time"

	"kivaloo/cmd/internal/blackbox/kvtest"
	"kivaloo/cmd/internal/daemon/daemontest"
	"kivaloo/internal/must"
)

const (
	// crashes is how often each kind of system is killed in an ordinary run, in a run with the race
	// detector, and in a long run.
	crashes     = 7
	crashesRace = 4
	crashesLong = 200

	// crashLoads is how many connections are under load at the time.
	crashLoads = 4

	// crashAfter bounds how long the load has run before a crash.
	crashAfter = 80 * time.Millisecond

	// crashWait bounds the wait for an acknowledgement.
	crashWait = 10 * time.Second

	// checkEvery is how many crashes pass between two checks of the directory.
	checkEvery = 3
)

// TestCrashes checks the store whatever is killed, and whenever. Every acknowledged change must be
// there. Of the others on each connection a first part must be there, each as a whole, without a
// gap.
func TestCrashes(t *testing.T) {
	t.Parallel()
	// With such a short journal flushes run nearly all the time.
	for name, journal := range map[string]string{"serve": "64M", "serve, short journal": "4k", "serve, pages": "0"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServe(t, "--block-size", "512", "--cache", "1M", "--journal", journal)
			crashOften(t, s, func(t *testing.T, rnd *rand.Rand) { s.dieStarting(t, rnd) })
		})
	}
	for name, journal := range map[string]string{"daemons": "67108864", "daemons, short journal": "4096", "daemons, pages": "0"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDaemons(t, 512, "-C", "1024", "-S", "10000", "-n", fmt.Sprint(crashLoads+1), "--journal", journal)
			crashOften(t, d, func(*testing.T, *rand.Rand) {})
		})
	}
}

// crashOften puts a system under load and kills it, again and again. Between a crash and the next
// start it sometimes calls dead.
func crashOften(t *testing.T, s system, dead func(*testing.T, *rand.Rand)) {
	rnd := daemontest.Seeded(t)
	rounds := crashes
	switch {
	case daemontest.Torture():
		rounds = crashesLong
	case daemontest.Race:
		rounds = crashesRace
	}
	loads := make([]*kvtest.Load, crashLoads)
	for i := range loads {
		loads[i] = kvtest.NewLoad(rnd, fmt.Sprintf("client %d: ", i))
	}
	s.start(t)
	for round := range rounds {
		crashUnder(t, s, loads, rnd)
		if s.idle() && round%checkEvery == 0 {
			checkStore(t, s.dir())
			dead(t, rnd)
		}
		s.start(t)
		found := readAll(t, s.addr())
		for _, l := range loads {
			if err := l.Check(found); err != nil {
				t.Fatalf("after crash %d: %v", round, err)
			}
		}
	}
	if n := acknowledged(loads); n == 0 {
		t.Errorf("no change was acknowledged between %d crashes: nothing has been tried", rounds)
	}
}

// acknowledged returns how many changes of all loads have been acknowledged.
func acknowledged(loads []*kvtest.Load) (n int) {
	for _, l := range loads {
		n += l.Acknowledged()
	}
	return n
}

// crashUnder kills something while the loads run.
func crashUnder(t *testing.T, s system, loads []*kvtest.Load, rnd *rand.Rand) {
	t.Helper()
	errs := make([]error, len(loads))
	under := runLoads(t.Context(), s.addr(), loads, errs)
	if rnd.IntN(2) == 0 { // otherwise it may die before anything has been acknowledged
		before := acknowledged(loads)
		for end := time.Now().Add(crashWait); acknowledged(loads) == before && time.Now().Before(end); <-time.After(time.Millisecond) {
		}
	}
	<-time.After(time.Duration(rnd.Int64N(int64(crashAfter))))
	s.crash(t, rnd)
	under.Wait()
	must.Do(t, errors.Join(errs...))
}

// runLoads starts the loads. The group is done when all have ended; their errors are then in errs.
func runLoads(ctx context.Context, addr string, loads []*kvtest.Load, errs []error) *sync.WaitGroup {
	var group sync.WaitGroup
	for i, l := range loads {
		group.Go(func() {
			if err := l.Run(ctx, addr); err != nil && !errors.Is(err, syscall.ECONNREFUSED) {
				errs[i] = err // refused: the server was gone before the load began
			}
		})
	}
	return &group
}

// dieStarting starts serve and kills it, usually before it is ready.
func (s *serve) dieStarting(t *testing.T, rnd *rand.Rand) {
	t.Helper()
	process, _ := daemontest.Foreground(t, s.command())
	<-time.After(time.Duration(rnd.Int64N(int64(30 * time.Millisecond))))
	process.Kill()
	process.Wait(t)
}
