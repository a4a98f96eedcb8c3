package linear

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"
	"time"

	"kivaloo/cmd/internal/daemon/daemontest"
	"kivaloo/internal/must"
)

const (
	// players is how many goroutines play at once. clients is how many connections they share.
	players = 8
	clients = 3

	// crashes is how often a system is killed, or a process stopped for a while, in one game.
	crashes = 5

	// games is how many games, each with its own keys, are played in an ordinary run, in a run with
	// the race detector, and in a long run.
	games     = 4
	gamesRace = 1
	gamesLong = 300

	// stopFor bounds how long a process is stopped.
	stopFor = 200 * time.Millisecond

	// progress is the least number of operations answered between two crashes. crashAfter bounds
	// how long the game goes on after that.
	progress   = 100
	crashAfter = 300 * time.Millisecond

	// patience bounds every wait. It is far above what anything takes, for busy machines.
	patience = 60 * time.Second
)

// system is a store that can be killed.
type system interface {
	// start starts what is not running.
	start(t *testing.T)
	// crash kills something with SIGKILL, so that at least some clients lose their connection.
	crash(t *testing.T, rnd *rand.Rand)
	// processes returns those that can be stopped for a while.
	processes() []*daemontest.Daemon
	// client connects to the system; n is the number of the client. A client reconnects when it has
	// to.
	client(t *testing.T, n int) store
}

// TestLinearizable checks that a store is linearizable, whatever is killed or stopped for a while,
// and whenever.
func TestLinearizable(t *testing.T) {
	t.Parallel()
	for name, newSystem := range map[string]func(*testing.T) system{
		"serve":         newServe,
		"serve and mux": newMuxed,
		"daemons":       newDaemons,
		"DB":            newEmbedded,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rounds := games
			switch {
			case daemontest.Torture():
				rounds = gamesLong
			case daemontest.Race:
				rounds = gamesRace
			}
			s, rnd := newSystem(t), daemontest.Seeded(t)
			s.start(t)
			for n := range rounds {
				playGame(t, s, rnd, newTable(fmt.Sprintf("game %d: ", n)))
			}
		})
	}
}

// playGame has players play on a system that is killed again and again, and checks the history.
func playGame(t *testing.T, s system, rnd *rand.Rand, tb *table) {
	t.Helper()
	playCrashes(t, s, rnd, tb)
	for op, n := range tb.answered {
		if n == 0 {
			t.Errorf("no %v was answered: it has not been tried", opcode(op))
		}
	}
	tb.mustBeLinearizable(t)
}

// playCrashes is a game without the check. At the end all keys are read.
func playCrashes(t *testing.T, s system, rnd *rand.Rand, tb *table) {
	t.Helper()
	connected := make([]store, clients)
	for i := range connected {
		connected[i] = s.client(t, i)
		defer connected[i].Close()
	}
	whilePlaying(t, connected, rnd, tb, func() {
		for range crashes {
			tb.awaitProgress(t)
			<-time.After(time.Duration(rnd.Int64N(int64(crashAfter))))
			tb.disturbed.Store(true)
			disturb(t, s, rnd)
		}
		tb.awaitProgress(t)
	})
	last := &player{table: tb, number: players, store: connected[0]}
	for group := range groups {
		must.Do(t, last.carryOut(patience, call{op: opRange, group: group}))
	}
	t.Logf("%d operations, %d with an unknown outcome", len(tb.operations), tb.unknown)
}

// disturb kills something and starts it again, or stops a process for a while, or both.
func disturb(t *testing.T, s system, rnd *rand.Rand) {
	t.Helper()
	stopped, kill := time.Duration(0), true
	if all := s.processes(); len(all) > 0 && rnd.IntN(2) == 0 {
		stopped, kill = time.Duration(rnd.Int64N(int64(stopFor))), rnd.IntN(3) == 0
		one := all[rnd.IntN(len(all))]
		one.Signal(t, syscall.SIGSTOP)
		goOn := func() { syscall.Kill(one.Pid, syscall.SIGCONT) } // it may have been killed
		timer := time.AfterFunc(stopped, goOn)
		defer func() {
			if timer.Stop() {
				goOn() // another process was killed and started again before the time was over
			}
		}()
	}
	if kill {
		<-time.After(stopped / 2)
		s.crash(t, rnd)
		s.start(t)
		return
	}
	<-time.After(2 * stopped) // what was held up happens now
}

// whilePlaying runs something while players, who share some connections, are at the table.
func whilePlaying(t *testing.T, connected []store, rnd *rand.Rand, tb *table, something func()) {
	t.Helper()
	var playing sync.WaitGroup
	stop := make(chan struct{})
	for i := range players {
		p := &player{table: tb, number: i, store: connected[i%clients], rnd: rand.New(rand.NewPCG(rnd.Uint64(), 0))}
		playing.Go(func() {
			if err := p.play(stop); err != nil {
				t.Errorf("player %d: %v", i, err)
			}
		})
	}
	defer playing.Wait()
	defer close(stop)
	something()
}
