package blackbox

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kivaloo/internal/must"
)

// foldBlock is the block size of these tests, in bytes.
const foldBlock = 4096

// foldKeys are set one after the other, each in a batch of one block.
var foldKeys = []string{"a", "b", "c", "d", "e"}

// killed returns a serve that was killed while its last changes, one for each of foldKeys, were in
// the journal only.
func killed(t *testing.T) *serve {
	t.Helper()
	s := newServe(t, "--block-size", fmt.Sprint(foldBlock))
	for range 20 { // a slow machine gives it time to flush
		s.start(t)
		c := connect(t, s.addr())
		for _, key := range foldKeys {
			must.Do(t, c.Set(key, "value "+key))
		}
		s.crash(t, nil)
		if report := checkStore(t, s.dir()); strings.Contains(report, fmt.Sprintf("  journal      %d commits,", len(foldKeys))) {
			return s
		}
		must.Do(t, os.RemoveAll(s.dir()))
	}
	t.Fatal("nothing was ever in the journal only")
	return nil
}

// damageBlock changes a byte in a block of the store in dir. fromEnd counts from the last block,
// which is 0.
func damageBlock(t *testing.T, dir string, fromEnd int) {
	t.Helper()
	files := blockFiles(t, dir)
	for _, name := range slices.Backward(slices.Sorted(maps.Keys(files))) {
		blocks := int(files[name] / foldBlock)
		if fromEnd >= blocks {
			fromEnd -= blocks
			continue
		}
		path := filepath.Join(dir, name)
		content, err := os.ReadFile(path)
		must.Do(t, err)
		content[(blocks-1-fromEnd)*foldBlock+50] ^= 0x55 // a single bit would show that it was once whole
		must.Do(t, os.WriteFile(path, content, 0o644))
		return
	}
	t.Fatal("there are not so many blocks")
}

// TestFold checks that check on a killed store reports its journal and changes nothing, and that
// after --fold everything is in pages.
func TestFold(t *testing.T) {
	t.Parallel()
	s := killed(t)
	before := treeHash(t, s.dir())
	report := checkStore(t, s.dir())
	if want := "the original refuses this store until it has been folded: kivaloo check --fold " + s.dir(); !strings.Contains(report, want) {
		t.Errorf("check does not say %q:\n%s", want, report)
	}
	if treeHash(t, s.dir()) != before {
		t.Error("check has changed the store")
	}
	r := kivaloo(t, "", "check", "--fold", s.dir())
	if want := fmt.Sprintf("pairs        %d,", len(foldKeys)); r.status != 0 || !strings.Contains(r.out, want) || strings.Contains(r.out, "journal") {
		t.Errorf("status %#x, printed\n%s%s", r.status, r.out, r.stderr)
	}
	s.start(t)
	kivaloo(t, "", "check", "--fold", s.dir()).want(t, 1, "", "in use by another process")
	kivaloo(t, "", "get", "--addr", s.addr(), "e").want(t, 0, "value e\n", "")
	s.stop(t)
}

// TestCheckJournal checks that an unreadable batch that was acknowledged is a fault, and that the
// last one may have been cut short.
func TestCheckJournal(t *testing.T) {
	t.Parallel()
	s := killed(t)
	damageBlock(t, s.dir(), 0)
	report := checkStore(t, s.dir())
	for _, want := range []string{fmt.Sprintf("  journal      %d commits,", len(foldKeys)-1), "  not whole    1 block of appends"} {
		if !strings.Contains(report, want) {
			t.Errorf("check does not say %q:\n%s", want, report)
		}
	}
	damageBlock(t, s.dir(), 2)
	for _, options := range [][]string{{"check"}, {"check", "--fold"}} {
		r := kivaloo(t, "", append(options, s.dir())...)
		if said := r.out + r.stderr; r.status.ExitStatus() != 1 || !strings.Contains(said, "was acknowledged before") {
			t.Errorf("%v: status %#x, said %q", options, r.status, said)
		}
	}
}
