package tree

import (
	"fmt"
	"testing"

	"kivaloo/disk/simfs"
)

// lies are the things that a disk can do wrong while it reports success, by name.
var lies = map[string]simfs.Lie{"lost sync": simfs.LostSync, "lost write": simfs.LostWrite, "misdirected write": simfs.Misdirected}

// TestLyingDisk has a disk report that a sync has succeeded when it has not, or when a piece of it
// is missing or in another place. Commits go on. Then the process reads what is on disk, or the
// power is cut and the store is opened again. The fault must be reported, or have no effect. A
// wrong answer must never be given.
func TestLyingDisk(t *testing.T) {
	for name, lie := range lies {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			told, reported := 0, 0
			for seed := range torture(120, 3_000) {
				t.Run(fmt.Sprint(seed), func(t *testing.T) {
					l := &lyingLife{life: &life{simulation: newSimulation(t, seed), fsys: simfs.New(storeDir), past: newHistory(model{}), cuts: maxCuts}}
					if l.run(lie) {
						told++
					}
					if l.reports > 0 {
						reported++
					}
				})
			}
			t.Logf("%d lies were told, %d reported", told, reported)
			if told < 10 {
				t.Error("too few lies: this test shows nothing")
			}
		})
	}
}

// lyingLife is a store on a disk that lies once.
type lyingLife struct{ *life }

// run reports whether the disk has lied and commits followed.
func (l *lyingLife) run(lie simfs.Lie) bool {
	if !l.open() {
		l.fatalf("cannot be opened")
	}
	l.broken, l.damaged = true, true
	l.turns(5 + l.rng.IntN(60))
	l.fsys.Lie(lie, l.rng.IntN(10), []int{512, l.blockSize}[l.rng.IntN(2)], l.rng)
	until := func(done func() bool) bool {
		for n := 0; n < 100 && !done(); n++ {
			l.turn()
		}
		return done()
	}
	lied := until(l.fsys.Lied)
	commits := l.tree.counts.commits
	if !lied || !until(func() bool { return l.tree.counts.commits > commits+1 }) {
		l.close()
		return false
	}
	if l.rng.IntN(3) == 0 {
		l.fsys.DropCache()
		l.turns(50)
		_ = l.all()
	}
	if l.rng.IntN(2) == 0 {
		l.tree.Stop()
		l.pass(3 * flushIdleAfter)
	}
	l.kill = false
	l.fsys.DropCache() // what is not on disk is lost
	l.end()
	l.close()
	next := &life{simulation: l.simulation, fsys: l.after, past: l.left, cuts: maxCuts, broken: true, damaged: true}
	if next.open() {
		next.close()
	}
	l.reports += next.reports
	return true
}

// turns uses the store a little.
func (l *lyingLife) turns(n int) {
	for range n {
		l.turn()
	}
}
