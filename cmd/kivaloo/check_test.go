package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"kivaloo"
	"kivaloo/tree"
)

// What check says of a journal.
func TestPrintJournal(t *testing.T) {
	for _, tc := range []struct {
		journal tree.Journal
		want    string
	}{
		{tree.Journal{}, ""},
		{tree.Journal{Commits: 1, Changes: 2, Blocks: 1, Behind: 1, Kept: true}, "the original refuses this store"},
		{tree.Journal{Behind: 3, Cut: 3, Kept: true}, "not whole    3 blocks of appends: a crash cut them short, or their blocks are damaged\n"},
	} {
		var out strings.Builder
		printJournal(&out, "dir", 512, &tc.journal)
		if said := out.String(); !strings.Contains(said, tc.want) || (said == "") != (tc.want == "") {
			t.Errorf("%+v: %q", tc.journal, said)
		}
	}
}

// Of a damaged leaf check names the block, the root that a start uses, and what to do.
func TestCheckNamesBlockAndRoot(t *testing.T) {
	dir := t.TempDir()
	for _, keys := range [][]int{{0, 200}, {199, 200}} { // the leaf is not of the last commit
		db, err := kivaloo.Open(dir, kivaloo.Options{BlockSize: 512, NoSync: true, StorageCost: -1, JournalBytes: -1})
		if err != nil {
			t.Fatal(err)
		}
		b := db.NewBatch()
		for i := keys[0]; i < keys[1]; i++ {
			b.Set(fmt.Appendf(nil, "key %03d", i), bytes.Repeat([]byte("value"), 2+i%3-keys[0]/199))
		}
		if err := errors.Join(db.Apply(t.Context(), b), db.Close()); err != nil {
			t.Fatal(err)
		}
	}
	names, _ := filepath.Glob(filepath.Join(dir, "blks_*"))
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if at := bytes.Index(text, []byte("key 030")); at >= 0 {
			text[at/512*512+9] ^= 0xff
			if err := os.WriteFile(name, text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	got := kivalooRun("", "check", dir)
	if got.status != 1 || !regexp.MustCompile(`(?s)^block \d+ \(root.*a start will use the root at block \d+; .*restore the store from a backup\n$`).MatchString(got.out) {
		t.Errorf("exit status %d, printed %q; %s", got.status, got.out, got.stderr)
	}
}
