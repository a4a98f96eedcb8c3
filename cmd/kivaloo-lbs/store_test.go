package main

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"kivaloo"
	"kivaloo/internal/must"
	"kivaloo/wire"
)

// noBlock is the number of the last block in the answer to PARAMS2 if there is none.
const noBlock = math.MaxUint64

func TestParams(t *testing.T) {
	t.Parallel()
	c := newPlace(t).start(t, 1023).connect(t)
	if size, next, err := c.params(); size != 1023 || next != 0 || err != nil {
		t.Errorf("PARAMS: %d, %d, %v", size, next, err)
	}
	c.mustNext(t, 0, noBlock)
	c.mustAppend(t, 0, 3, 1023)
	if size, next, err := c.params(); size != 1023 || next != 3 || err != nil {
		t.Errorf("PARAMS: %d, %d, %v", size, next, err)
	}
	c.mustNext(t, 3, 2)
}

func TestIDsAreEchoed(t *testing.T) {
	t.Parallel()
	c := newPlace(t).start(t, 512).connect(t)
	for _, id := range []uint64{0, 1, 1, 1 << 63, math.MaxUint64, math.MaxUint64} {
		must.Do(t, c.Put(wire.AppendPacket(nil, id, request(wire.TypeLBSGet, uint64(0)))))
		if got, _, err := c.receive(); got != id || err != nil {
			t.Errorf("request %d answered as %d, %v", id, got, err)
		}
	}
}

func TestFilesOfSingleAppends(t *testing.T) {
	t.Parallel()
	for _, size := range []int{512, 1023} {
		t.Run(strconv.Itoa(size), func(t *testing.T) {
			t.Parallel()
			s := newPlace(t).start(t, size, "-L")
			c := s.connect(t)
			for i := range uint64(201) {
				c.mustAppend(t, i, 1, size)
			}
			// A new file begins when the last one holds more than a sixteenth of all blocks.
			var counts []int
			for next := 0; next < 201; next++ {
				if last := len(counts) - 1; last < 0 || counts[last] > next/16 {
					counts = append(counts, 0)
				}
				counts[len(counts)-1]++
			}
			known := []int{
				1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
				2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 6, 6,
			}
			if !slices.Equal(counts[:len(known)], known) {
				t.Fatalf("the test's own rule gives %v", counts)
			}
			var want []string
			first := 0
			for _, n := range counts {
				want = append(want, fmt.Sprintf("%d:%d", first, n*size))
				first += n
			}
			if got := s.files(t); !slices.Equal(got, want) {
				t.Errorf("files\n%v, want\n%v", got, want)
			}
		})
	}
}

func TestAppendIsNeverSplit(t *testing.T) {
	t.Parallel()
	s := newPlace(t).start(t, 512)
	c := s.connect(t)
	c.mustAppend(t, 0, 100, 512)
	c.mustAppend(t, 100, 1, 512) // the first file is too large for more
	c.mustAppend(t, 101, 500, 512)
	if got, want := s.files(t), []string{"0:51200", "100:256512"}; !slices.Equal(got, want) {
		t.Errorf("files %v, want %v", got, want)
	}
}

func TestGet(t *testing.T) {
	t.Parallel()
	s := newPlace(t)
	s.put(t, "blks_0000000000000010", 2*512)
	c := s.start(t, 512).connect(t)
	c.mustNext(t, 18, 17)
	for _, block := range []uint64{0, 15, 18, 1 << 40, math.MaxUint64} {
		c.mustMiss(t, block)
	}
	for _, block := range []uint64{16, 17} {
		if data, err := c.get(block, 512); err != nil || data[0] != 7 {
			t.Errorf("block %d: %v, %x", block, err, data[0])
		}
	}
}

func TestPipelinedAppends(t *testing.T) {
	t.Parallel()
	c := newPlace(t).start(t, 512).connect(t)
	at0 := appendRequest(0, 4, pattern(0, 4, 512))
	must.Do(t, c.send(at0, at0, at0))
	outcomes := make(map[uint64]error)
	for range 3 {
		id, answer, err := c.receive()
		must.Do(t, err)
		var next uint64
		outcomes[id] = status(answer, &next)
	}
	if outcomes[1] != nil || !errors.Is(outcomes[2], errStatus1) || !errors.Is(outcomes[3], errStatus1) {
		t.Errorf("outcomes %v", outcomes)
	}
	c.mustNext(t, 4, 3)
	if _, err := c.append(3, 1, make([]byte, 512)); !errors.Is(err, errStatus1) {
		t.Errorf("append at a block that is there: %v", err)
	}
	if _, err := c.append(5, 1, make([]byte, 512)); !errors.Is(err, errStatus1) {
		t.Errorf("append behind a gap: %v", err)
	}
	c.mustAppend(t, 4, 1, 512)
}

func TestFree(t *testing.T) {
	t.Parallel()
	s := newPlace(t).start(t, 512)
	c := s.connect(t)
	for i := range uint64(20) {
		c.mustAppend(t, i, 1, 512)
	}
	free := func(block uint64, firstFile string, firstLeft uint64) {
		t.Helper()
		must.Eventually(t, fmt.Sprintf("FREE(%d) leaves %s", block, firstFile), func() bool {
			// Repeat it, because a FREE during another one is ignored.
			must.Do(t, c.free(block))
			return s.files(t)[0] == firstFile
		})
		if firstLeft > 0 {
			c.mustMiss(t, firstLeft-1)
		}
		c.mustGet(t, firstLeft, 512)
	}
	free(0, "0:512", 0)
	free(3, "3:512", 3)
	free(16, "15:1024", 15) // 15 and 16 share a file: both stay
	free(2, "15:1024", 15)
	free(1<<50, "19:512", 19)
	free(math.MaxUint64, "19:512", 19)
	c.mustNext(t, 20, 19)
	c.mustAppend(t, 20, 1, 512)
}

func TestFreeWhileBusy(t *testing.T) {
	t.Parallel()
	s := newPlace(t).start(t, 512, "-L")
	c := s.connect(t)
	for i := range uint64(100) {
		c.mustAppend(t, i, 1, 512)
	}
	var requests [][]byte
	for i := range uint64(100) {
		requests = append(requests, request(wire.TypeLBSFree, i))
	}
	must.Do(t, c.send(requests...))
	for range requests {
		if _, answer, err := c.receive(); err != nil || status(answer) != nil {
			t.Fatalf("%x, %v", answer, err)
		}
	}
	c.mustGet(t, 99, 512)
}

func TestReadDelay(t *testing.T) {
	const delay = 200 * time.Millisecond
	for _, readers := range []int{1, 4} {
		t.Run(fmt.Sprintf("%d readers", readers), func(t *testing.T) {
			t.Parallel()
			s := newPlace(t).start(t, 512, "-n", strconv.Itoa(readers), "-l", strconv.Itoa(int(delay)))
			c := s.connect(t)
			c.mustAppend(t, 0, 1, 512)
			start := time.Now()
			hit, miss := request(wire.TypeLBSGet, uint64(0)), request(wire.TypeLBSGet, uint64(1))
			must.Do(t, c.send(hit, miss, hit))
			var order []string
			for range 3 {
				_, answer, err := c.receive()
				must.Do(t, err)
				order = append(order, map[int]string{4: "miss", 516: "hit"}[len(answer)])
			}
			// A single reader is busy while it waits. With several, another reader sees at once
			// that the block does not exist.
			atLeast, want := delay, []string{"miss", "hit", "hit"}
			if readers == 1 {
				atLeast, want = 2*delay, []string{"hit", "miss", "hit"}
			}
			if took := time.Since(start); took < atLeast || !slices.Equal(order, want) {
				t.Errorf("%v in %v, want %v in at least %v", order, took, want, atLeast)
			}
		})
	}
}

func TestStartOnWhatIsThere(t *testing.T) {
	type files map[string]int // sizes
	for _, c := range []struct {
		name       string
		before     files
		after      []string // files
		next, last uint64
		gone       []uint64 // blocks that must not exist
		refused    string   // otherwise, part of the message
	}{
		{name: "empty", last: noBlock},
		{name: "first file is not 0", before: files{"blks_000000000000002d": 1024}, after: []string{"45:1024"}, next: 47, last: 46, gone: []uint64{44}},
		{name: "chain", before: files{"blks_0000000000000000": 512, "blks_0000000000000001": 1024}, after: []string{"0:512", "1:1024"}, next: 3, last: 2},
		{name: "torn tail", before: files{"blks_0000000000000000": 512, "blks_0000000000000001": 1100}, after: []string{"0:512", "1:1024"}, next: 3, last: 2},
		{name: "torn first block", before: files{"blks_0000000000000000": 512, "blks_0000000000000001": 100}, after: []string{"0:512", "1:0"}, next: 1, last: 0, gone: []uint64{1}},
		{name: "torn and alone", before: files{"blks_0000000000000000": 511}, after: []string{"0:0"}, last: noBlock, gone: []uint64{0}},
		{name: "empty and alone", before: files{"blks_0000000000000007": 0}, after: []string{"7:0"}, next: 7, last: 6, gone: []uint64{6, 7}},
		{name: "empty last", before: files{"blks_0000000000000000": 512, "blks_0000000000000001": 0}, after: []string{"0:512", "1:0"}, next: 1, last: 0},
		{name: "gap", before: files{"blks_0000000000000000": 512, "blks_0000000000000002": 512}, refused: "blks_0000000000000002"},
		{name: "overlap", before: files{"blks_0000000000000000": 1024, "blks_0000000000000001": 512}, refused: "blks_0000000000000001"},
		{name: "torn in the middle", before: files{"blks_0000000000000000": 700, "blks_0000000000000001": 512}, refused: "blks_0000000000000000"},
		{name: "foreign names", before: files{
			"blks_0000000000000000": 512, "blks_000000000000001": 1, "blks_00000000000000011": 1, "blks_000000000000000g": 1,
			"blk_00000000000000001": 1, "Blks_0000000000000001": 1, "notes": 1, "blks_0000000000000001~": 1,
		}, next: 1, last: 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t)
			for name, size := range c.before {
				p.put(t, name, size)
			}
			before := p.snapshot(t)
			if c.refused != "" {
				r := p.run(t, p.args(512)...)
				if r.Status.ExitStatus() != 1 || !strings.HasPrefix(r.Output, "kivaloo-lbs: ") || !strings.Contains(r.Output, c.refused) {
					t.Errorf("status %v, said %q", r.Status, r.Output)
				}
				if after := p.snapshot(t); after != before {
					t.Errorf("refused, but changed from\n%s to\n%s", before, after)
				}
				return
			}
			// The daemon reports that it cuts off a torn tail, so the output is not checked.
			if r := p.run(t, p.args(512)...); r.Status != 0 {
				t.Fatalf("status %v, said %q", r.Status, r.Output)
			}
			client := p.take(t).connect(t)
			client.mustNext(t, c.next, c.last)
			for _, block := range append(c.gone, c.next) {
				client.mustMiss(t, block)
			}
			if got := p.files(t); c.after != nil && !slices.Equal(got, c.after) {
				t.Errorf("files %v, want %v", got, c.after)
			}
			for name, size := range c.before {
				if info, err := os.Stat(p.path("d/" + name)); c.after == nil && (err != nil || info.Size() != int64(size)) {
					t.Errorf("%s was touched: %v", name, err)
				}
			}
			client.mustAppend(t, c.next, 2, 512)
			client.mustGet(t, c.next+1, 512)
		})
	}
}

func TestStartIgnoresWhatIsNoFile(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.put(t, "elsewhere", 512)
	must.Do(t, os.Mkdir(p.path("d/blks_0000000000000000"), 0o700))
	must.Do(t, os.Symlink("elsewhere", p.path("d/blks_0000000000000005")))
	p.put(t, "blks_0000000000000009", 512)
	p.start(t, 512).connect(t).mustNext(t, 10, 9)
}

func TestGoldenStores(t *testing.T) {
	for _, c := range []struct {
		name       string
		next, last uint64
		size       int // of the last file afterwards; 0: refused
	}{
		{"s512-empty", 1, 0, 512},
		{"s512-empty-newfile", 28, 27, 0x1200},
		{"s512-partial-next", 28, 27, 4608},
		{"s512-torn-base", 28, 27, 4608},
		{"s512-torn-root", 27, 26, 4096},
		{"s512-torn-multi", 23, 22, 2048},
		{"s512-torn-middle", 0, 0, 0},
		{"s512-zero-tail", 29, 28, 5120},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t)
			must.Do(t, os.CopyFS(p.path("d"), os.DirFS(filepath.Join("..", "..", "disk", "testdata", c.name))))
			before := p.snapshot(t)
			r := p.run(t, p.args(512)...)
			if c.size == 0 {
				if r.Status.ExitStatus() != 1 || p.snapshot(t) != before {
					t.Errorf("status %v, said %q; from\n%s to\n%s", r.Status, r.Output, before, p.snapshot(t))
				}
				return
			}
			if r.Status != 0 {
				t.Fatalf("status %v, said %q", r.Status, r.Output)
			}
			p.take(t).connect(t).mustNext(t, c.next, c.last)
			files := p.files(t)
			if c.name == "s512-empty-newfile" {
				files = files[:len(files)-1] // there is an empty one after the last one with blocks
			}
			if last := files[len(files)-1]; !strings.HasSuffix(last, fmt.Sprintf(":%d", c.size)) {
				t.Errorf("last file is %s, want %d bytes", last, c.size)
			}
		})
	}
}

// snapshot describes everything in the storage directory.
func (p place) snapshot(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	entries, err := os.ReadDir(p.path("d"))
	must.Do(t, err)
	for _, e := range entries {
		content, err := os.ReadFile(p.path("d/" + e.Name()))
		must.Do(t, err)
		fmt.Fprintf(&b, "%s %d %x\n", e.Name(), len(content), bytes.TrimRight(content, "\x00"))
	}
	return b.String()
}

// TestWrongBlockSize checks that -b is refused if the blocks are pages of another size, and that
// nothing is cut off then. With the right size, a torn end is cut off as usual.
func TestWrongBlockSize(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	db, err := kivaloo.Open(p.path("d"), kivaloo.Options{BlockSize: 2048})
	must.Do(t, err)
	must.Do(t, db.Close())
	before := p.snapshot(t)
	for _, size := range []int{512, 1024, 4096, 8192} {
		r := p.run(t, p.args(size)...)
		if r.Status.ExitStatus() != 1 || !strings.Contains(r.Output, fmt.Sprintf("has blocks of 2048 bytes, not %d", size)) {
			t.Errorf("-b %d: status %v, said %q", size, r.Status, r.Output)
		}
		if after := p.snapshot(t); after != before {
			t.Fatalf("-b %d changed\n%s to\n%s", size, before, after)
		}
		os.Remove(p.socket())
	}
	first := p.path("d/blks_0000000000000000")
	page, err := os.ReadFile(first)
	must.Do(t, err)
	must.Do(t, os.WriteFile(first, append(page, page[:700]...), 0o600))
	if r := p.run(t, p.args(2048)...); r.Status != 0 { // and it reports the cut
		t.Fatalf("status %v, said %q", r.Status, r.Output)
	}
	p.take(t)
	if after := p.snapshot(t); after != before {
		t.Errorf("after a torn append there is\n%s, want\n%s", after, before)
	}
}

// TestSumsOfOtherBlocks checks that files found without checksums get them, even if their blocks
// are not those of a tree.
func TestSumsOfOtherBlocks(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.put(t, "blks_0000000000000000", 1024)
	p.put(t, "blks_0000000000000002", 512)
	p.start(t, 512)
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		sums, err := os.ReadFile(p.path("d/sums_0000000000000000"))
		if err == nil && len(sums) == 36+8 && !bytes.Contains(sums[36:], make([]byte, 4)) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%x, %v", sums, err)
		}
	}
}
