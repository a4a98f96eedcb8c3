package tree

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kivaloo/disk/simfs"
)

// A simulation is the history of one store, from a seed, on one goroutine. The file system, the
// clock, the connections and the order in which operations complete are simulated. Wherever a call
// changes the disk, the power is cut. Each state that this can leave is opened, checked and
// compared with what clients were told:
//
//	life -- cut --> state -- opened, checked, compared, written to --> ok
//	  |               |
//	  |               +-- cut while it is opened, or written to --> state -- ... (maxCuts deep)
//	  +-- ends in one of the states, in which the next life begins
//
// Files in reading order: simulate_test.go (seeds and configurations), simulate_life_test.go (a
// store in use, and its states), simulate_client_test.go (the connections, and the model of what a
// store may hold).

// maxCuts is how often the power is cut in a row: in a life, then twice while the store recovers.
const maxCuts = 3

// outcomesTried is the most states of a moment that are all tried. If there are more, statesSampled
// of them are drawn. After statesOfSeed states, another store is more useful.
const (
	outcomesTried = 40
	statesSampled = 12
	statesOfSeed  = 1_500
)

// simulation is shared by all lives of one store.
type simulation struct {
	t         *testing.T
	rng       *rand.Rand
	blockSize int
	cfg       Config
	detect    bool // the block size is not given when the store is opened
	keys      int  // number of different keys
	seen      map[[2]uint64]bool
	count     *counts
}

// counts adds up all simulations.
type counts struct {
	states     atomic.Int64
	deep       atomic.Int64 // states of a cut during a recovery from a cut
	gone       atomic.Int64 // times that a watcher's position was gone
	resumed    atomic.Int64 // times that a watcher continued after a restart
	whole      atomic.Int64 // moments whose states were all tried
	unknown    atomic.Int64 // states that opened only with the block size given
	situations situations
}

// TestSimulate cuts the power in simulated stores until it has tried enough states: as many as
// KIVALOO_SIMULATE says, or without end if that is "on". With KIVALOO_SEED it runs only that seed.
func TestSimulate(t *testing.T) {
	// A state is used for a millisecond. Garbage collections, and zeroing of huge pages, would take
	// most of the time.
	defer debug.SetGCPercent(debug.SetGCPercent(1000))
	_ = unix.Prctl(unix.PR_SET_THP_DISABLE, 1, 0, 0, 0)
	defer unix.Prctl(unix.PR_SET_THP_DISABLE, 0, 0, 0, 0)
	var sum counts
	if seed, err := strconv.ParseUint(os.Getenv("KIVALOO_SEED"), 10, 64); err == nil {
		simulate(t, seed, &sum)
		t.Logf("%d states", sum.states.Load())
		return
	}
	enough, first := int64(torture(10_000, 2_000_000)), uint64(0)
	if raceEnabled {
		enough = 2_000
	}
	if asked := os.Getenv("KIVALOO_SIMULATE"); asked == "on" {
		enough, first = 1<<62, rand.Uint64()>>16
		go sum.report()
	} else if n, err := strconv.ParseInt(asked, 10, 64); err == nil {
		enough = n
	}
	start := time.Now()
	var next atomic.Uint64
	var workers sync.WaitGroup
	next.Store(first)
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for sum.states.Load() < enough && !t.Failed() {
				seed := next.Add(1) - 1
				if !t.Run(fmt.Sprint(seed), func(t *testing.T) { simulate(t, seed, &sum) }) {
					t.Errorf("to replay: KIVALOO_SEED=%d go test ./tree -count=1 -run '^TestSimulate$'", seed)
				}
			}
		})
	}
	workers.Wait()
	t.Logf("%d seeds: %s", next.Load()-first, sum.line(time.Since(start)))
	if !t.Failed() && sum.resumed.Load() < sum.states.Load()/20 {
		t.Errorf("watchers resumed only %d times", sum.resumed.Load())
	}
	if t.Failed() {
		return
	}
	if enough < 50_000 {
		return // too few for all situations
	}
	sum.situations.want(t, "while the store is opened", "while the tree is opened", "in a commit", "in a step", "in a step that others follow",
		"in a step after others", "while it stops", "while a file is freed", "with a snapshot", "without a journal",
		"after 1 cuts in a row", "after 2 cuts in a row")
}

// line describes what was done in a time.
func (s *counts) line(took time.Duration) string {
	n := s.states.Load()
	return fmt.Sprintf("%d states, %d of them of a cut during a recovery, %d moments with all of their states, %d without a visible block size, watchers resumed %d times and were %d times too late, %.0f states/s",
		n, s.deep.Load(), s.whole.Load(), s.unknown.Load(), s.resumed.Load(), s.gone.Load(), float64(n)/took.Seconds())
}

// report prints the progress of an endless simulation.
func (s *counts) report() {
	for start := time.Now(); ; {
		time.Sleep(5 * time.Second)
		fmt.Println(s.line(time.Since(start)))
	}
}

// simulate runs the history of one store.
func simulate(t *testing.T, seed uint64, sum *counts) {
	s := newSimulation(t, seed)
	s.count = sum
	fsys, past := simfs.New(storeDir), newHistory(model{})
	for range 4 {
		l := &life{simulation: s, fsys: fsys, past: past, every: 1 + s.rng.IntN(6)}
		fsys, past = l.spend()
	}
}

// newSimulation returns a simulation of a store with random settings.
func newSimulation(t *testing.T, seed uint64) *simulation {
	rng := rand.New(rand.NewPCG(seed, 3))
	s := &simulation{
		t: t, rng: rng, count: &counts{},
		blockSize: []int{512, 512, 2048, 2048, 700}[rng.IntN(5)],
		detect:    rng.IntN(2) == 0,
		keys:      []int{30, 150, 400}[rng.IntN(3)],
		seen:      map[[2]uint64]bool{},
	}
	s.cfg = testConfig()
	s.cfg.AdoptBlank = true
	s.cfg.StorageCost = []float64{0, 1, 1e9}[rng.IntN(3)]
	s.cfg.MaxSpread = []float64{0, 1.5}[rng.IntN(2)]
	s.cfg.JournalBytes = []int64{0, 4 << 10, 32 << 10}[rng.IntN(3)]
	s.cfg.CommitDelay = time.Duration(rng.IntN(2)) * 20 * time.Millisecond
	s.cfg.MinCommit = rng.IntN(2) * 10
	s.cfg.stepBytes = []int{0, 1}[rng.IntN(2)]           // one leaf
	s.cfg.memtableBytes = []int{0, 2 << 10}[rng.IntN(2)] // a few commits
	return s
}
