package targets

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kivaloo/internal/must"
	"kivaloo/stress"
)

// What `go tool pprof -traces -unit=ms` prints, shortened.
const traces = `File: kivaloo
Type: cpu
Time: 2026-01-02 03:04:05 UTC
Duration: 2s, Total samples = 1270ms (63.48%)
-----------+-------------------------------------------------------
     actor:  tree
      40ms   memeqbody
             bytes.Equal (inline)
             kivaloo/tree.(*cache).valueIn
             kivaloo/tree.(*reader).getMany
             kivaloo/tree.(*reader).run
             kivaloo/tree.(*Tree).Step
             kivaloo/tree.(*Actor).Run
-----------+-------------------------------------------------------
     actor:  tree
     120ms   runtime.memmove
             kivaloo/tree.(*pageCommit).copyPage
             kivaloo/tree.(*pageCommit).patchLeaf
             kivaloo/tree.(*pageCommit).rebuild
             kivaloo/tree.(*pageCommit).build
             kivaloo/tree.(*pageCommit).prepare
             kivaloo/tree.(*flusher).advance
             kivaloo/tree.(*Tree).Step
-----------+-------------------------------------------------------
     actor:  tree
      10ms   cmpbody
             bytes.Compare (inline)
             kivaloo/tree/memtable.(*Table).add
             kivaloo/tree.(*writer).decideOne
             kivaloo/tree.(*writer).decide
             kivaloo/tree.(*Tree).Step
-----------+-------------------------------------------------------
     actor:  tree
      20ms   runtime.memmove
             kivaloo/tree/journal.(*Writer).add (inline)
             kivaloo/tree.(*Tree).putCommit
             kivaloo/tree.(*Tree).append
             kivaloo/tree.(*Tree).Step
-----------+-------------------------------------------------------
     actor:  tree
      30ms   runtime.memmove
             kivaloo/wire.appendKey
             kivaloo/eventloop/kvlds.(*session).Value
             kivaloo/tree.(*reader).run
             kivaloo/tree.(*Tree).Step
-----------+-------------------------------------------------------
     actor:  tree
       7ms   internal/runtime/syscall/linux.Syscall6
             syscall.RawSyscall6
             kivaloo/eventloop.(*Loop).wake
             kivaloo/actors.(*Doorbell).Ring
             kivaloo/tree.(*replies).flush
             kivaloo/tree.(*Tree).Step
-----------+-------------------------------------------------------
     actor:  loop
       bytes:[1]
      60ms   internal/runtime/syscall/linux.Syscall6
             syscall.RawSyscall6
             kivaloo/eventloop.(*Conn).write
-----------+-------------------------------------------------------
     actor:  loop
     5.5ms   kivaloo/eventloop.(*Conn).cut
-----------+-------------------------------------------------------
     actor:  disk appender
     610ms   internal/runtime/syscall/linux.Syscall6
             kivaloo/disk.(*osFile).Sync
-----------+-------------------------------------------------------
      80ms   runtime.futex
             runtime.schedule
             runtime.mcall
-----------+-------------------------------------------------------
       3ms   net/http.(*conn).serve
-----------+-------------------------------------------------------
`

func TestAttribute(t *testing.T) {
	got, err := attribute(traces)
	must.Do(t, err)
	want := map[part]time.Duration{
		searching: 40 * time.Millisecond, pages: 120 * time.Millisecond, deciding: 10 * time.Millisecond, flushing: 20 * time.Millisecond,
		packets: 35500 * time.Microsecond, sockets: 60 * time.Millisecond, disk: 610 * time.Millisecond, goRuntime: 87 * time.Millisecond,
		rest: 3 * time.Millisecond,
	}
	for p := range allParts {
		if got[p] != want[p] {
			t.Errorf("%s: %v, want %v", partNames[p], got[p], want[p])
		}
	}
	if got.sum() != 985500*time.Microsecond {
		t.Errorf("the sum is %v", got.sum())
	}
	if _, err := attribute("no profile"); err == nil {
		t.Error("what is no profile is taken for one")
	}
}

// A function that is called something else now would have its time counted for its callers.
func TestTreeFunctionsExist(t *testing.T) {
	files, err := filepath.Glob("../../tree/*.go")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	there := map[string]bool{}
	for _, path := range files {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		must.Do(t, err)
		for _, d := range file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			name := f.Name.Name
			if f.Recv != nil {
				if pointer, ok := f.Recv.List[0].Type.(*ast.StarExpr); ok {
					name = "(*" + pointer.X.(*ast.Ident).Name + ")." + name
				}
			}
			there["kivaloo/tree."+name] = true
		}
	}
	for name := range treeParts {
		if !there[name] {
			t.Errorf("there is no %s", name)
		}
	}
}

func TestBreakdownTable(t *testing.T) {
	var took parts
	took[searching], took[disk] = 300*time.Millisecond, 100*time.Millisecond
	columns := []column{
		{name: "GET", depth: 1, seconds: 2, rate: 100_000, worked: 0.21, profiled: took},
		{name: "SET", depth: 64, seconds: 2, rate: 1000, worked: 0.2, profiled: took},
	}
	m := machine{gigahertz: 2, smallSync: 871 * time.Microsecond, largeSync: 1500 * time.Microsecond, miss: 110 * time.Nanosecond,
		copyRate: 9.5e9, roundTrip: 11 * time.Microsecond, chunkWrite: 7 * time.Microsecond, chunkRead: 6 * time.Microsecond}
	var out bytes.Buffer
	must.Do(t, printBreakdown(&out, 1<<20, "here", columns, m))
	text := strings.Join(strings.Fields(out.String()), " ")
	for _, want := range []string{
		"cycles of processor time per request requests in flight GET 1 SET 64",
		"tree: search 3000 300000 ", "disk: append, sync, read 1000 100000 ", " all 4000 400000 ", " all, ns 2000 200000 ",
		"by the kernel's count, ns 2100 200000 ", "requests per second 100000 1000 ", "samples 40 40 ",
		"The profiles are in here.", "clock 2.00 GHz", "2 KiB, p50 871 us", "no cache 110 ns", "copy memory 9.5 GB/s",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in:\n%s", want, &out)
		}
	}
	m.gigahertz, out = 0, bytes.Buffer{}
	if err := printBreakdown(&out, 1<<20, "here", columns, m); err != nil || !strings.Contains(out.String(), ": ns of processor time") || strings.Contains(out.String(), "clock") {
		t.Errorf("without a clock rate: %v\n%s", err, &out)
	}
}

func TestEndless(t *testing.T) {
	pairs := []stress.Pair{stress.PairAt(1), stress.PairAt(2)}
	for _, set := range []bool{false, true} {
		w := newEndless(pairs, 300, set, 1)
		first, _, more := w.Next(nil)
		w.next += uint64(len(w.chosen)) - 1
		again, tag, _ := w.Next(nil)
		if !more || tag != 0 || bytes.Equal(first, again) == set {
			t.Errorf("set %v: %x, then %x", set, first, again)
		}
		if w.Check(tag, nil) == nil || w.answered.Load() != 1 {
			t.Errorf("set %v: an answer of nothing is right, or not counted", set)
		}
		w.over.Store(true)
		if _, _, more := w.Next(nil); more {
			t.Errorf("set %v: it is over, and there is more", set)
		}
	}
}

// TestMeasureSockets checks that each operation takes some time, and that nothing is left running.
func TestMeasureSockets(t *testing.T) {
	round, write, read, err := socketTimes()
	if err != nil || round <= 0 || write <= 0 || read <= 0 {
		t.Error(round, write, read, err)
	}
	if worked, err := workedSeconds(1); err != nil || worked < 0 {
		t.Error(worked, err)
	}
}
