package blackbox

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kivaloo/cmd/internal/blackbox/kvtest"
	"kivaloo/cmd/internal/daemon/daemontest"
	"kivaloo/internal/must"
)

const (
	// exerciseRequests is how many random requests are made to every store of the original.
	exerciseRequests = 10_000

	// goldenRaces is the fraction of stores tried with the race detector. Concurrency does not
	// depend on what a store holds.
	goldenRaces = 4
)

// Dumps of stores written by the original.
const (
	dumpEmpty       = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	dumpGenerations = "8e45ef8070443363b55b9c631a770054f5905ffdfdc414406e68190130a0f660" // all three generations
	dumpPrevious    = "635cd98bf34e475d93ca402f8318ac835ff01345d3a78ec0a98e6d7c43e8d4a9" // all but the last
)

// golden lists the stores written by the original. Some of them then lost part of their end.
var golden = []struct {
	name      string
	blockSize int
	dump      string // hash of all pairs
	says      string // message while it is opened; "" for none
}{
	{"s512-empty", 512, dumpEmpty, ""},
	{"s512-seq", 512, "53d9869c983ed6ecea6c8dec6d1ab386f77e320b7f6efbd3f65cd676205ac50c", ""},
	{"s1024-gens", 1024, "62d5df620a2e4d0833ed1117c60bde46c5784c9bda359284356a536033375698", ""},
	{"s2048-bench", 2048, "5f7f07242c7a38201c7f5a2e6b1496474bd24c412a296576c6eb17d01744ee84", ""},
	{"s2048-edge", 2048, "dd03fcacb7fd13da2dda34719f1383c4581f17bb0f2a455add89357918b41be4", ""},
	{"s512-torn-base", 512, dumpGenerations, ""},
	{"s512-torn-root", 512, dumpPrevious, "bytes=4408"},
	{"s512-torn-multi", 512, dumpPrevious, "bytes=2483"},
	{"s512-partial-next", 512, dumpGenerations, "bytes=4708"},
	{"s512-empty-newfile", 512, dumpGenerations, ""},
	// The original refuses this one. No append leaves zeros, so the tree before them is the last.
	{"s512-zero-tail", 512, dumpGenerations, "block=28"},
}

// TestGolden checks that every store of the original opens with what it holds, or with its last
// whole tree and a message. Then it must serve like any other.
func TestGolden(t *testing.T) {
	t.Parallel()
	for i, g := range golden {
		if daemontest.Race && !daemontest.Torture() && i%goldenRaces != goldenRaces/2 {
			continue
		}
		t.Run(g.name, func(t *testing.T) {
			t.Parallel()
			onBoth(t, g.blockSize, func(t *testing.T, s system) {
				copyGolden(t, g.name, s.dir())
				s.start(t)
				said := s.said(t)
				warned := strings.Contains(said, "skipped a block") || strings.Contains(said, "cutting off")
				if warned != (g.says != "") || !strings.Contains(said, g.says) {
					t.Errorf("said %q; want %q", said, g.says)
				}
				if got := dump(t, s.addr()); got != g.dump {
					t.Fatalf("dump %s, want %s", got, g.dump)
				}
				exercise(t, s)
			})
		})
	}
}

// exercise makes random requests, restarts, and compares the content with what it should be.
func exercise(t *testing.T, s system) {
	t.Helper()
	m := readAll(t, s.addr())
	must.Do(t, kvtest.Exercise(t.Context(), s.addr(), m, daemontest.Seeded(t), exerciseRequests))
	mustHold(t, s.addr(), m)
	s.stop(t)
	checkStore(t, s.dir())
	s.start(t)
	mustHold(t, s.addr(), m)
}

// TestGoldenTornMiddle checks that a store with a file in the middle that is too short is refused
// and left unchanged. No crash does such damage.
func TestGoldenTornMiddle(t *testing.T) {
	t.Parallel()
	const says = "blks_000000000000000a has 4508 bytes, not a multiple of 512, and is not the last file"
	s := newServe(t)
	copyGolden(t, "s512-torn-middle", s.dir())
	before := treeHash(t, s.dir())
	runCommand(t, s.command()).want(t, 1, "", says)

	place := daemontest.Place(t)
	r := daemontest.Run(t, place, daemontest.Program("kivaloo-lbs"), "-s", filepath.Join(place, "lbs"), "-d", s.dir(), "-b", "512")
	run{r.Status, "", r.Output}.want(t, 1, "", says)
	if treeHash(t, s.dir()) != before {
		t.Error("the store has been changed")
	}
}

// copyGolden copies a store of the original to dir.
func copyGolden(t *testing.T, name, dir string) {
	t.Helper()
	must.Do(t, os.CopyFS(dir, os.DirFS(filepath.Join("testdata/golden", name))))
}
