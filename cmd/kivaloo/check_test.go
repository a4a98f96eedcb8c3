package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"kivaloo"
	"kivaloo/internal/must"
	"kivaloo/tree"
)

// TestPrintJournal checks what check says about a journal.
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

// TestCheckNamesBlockAndRoot checks that for a damaged leaf check names the block, the root that a
// start uses, and what to do.
func TestCheckNamesBlockAndRoot(t *testing.T) {
	dir := t.TempDir()
	for _, keys := range [][]int{{0, 200}, {199, 200}} { // the leaf is not of the last commit
		db, err := kivaloo.Open(dir, kivaloo.Options{BlockSize: 512, NoSync: true, StorageCost: -1, JournalBytes: -1})
		must.Do(t, err)
		b := new(kivaloo.Batch)
		for i := keys[0]; i < keys[1]; i++ {
			b.Set(fmt.Appendf(nil, "key %03d", i), bytes.Repeat([]byte("value"), 2+i%3-keys[0]/199))
		}
		must.Do(t, errors.Join(db.Apply(t.Context(), b), db.Close()))
	}
	names, _ := filepath.Glob(filepath.Join(dir, "blks_*"))
	for _, name := range names {
		text, err := os.ReadFile(name)
		must.Do(t, err)
		if at := bytes.Index(text, []byte("key 030")); at >= 0 {
			text[at/512*512+9] ^= 0xff
			must.Do(t, os.WriteFile(name, text, 0o600))
		}
	}
	got := kivalooRun("", "check", dir)
	if got.status != 1 || !regexp.MustCompile(`(?s)^block \d+ \(root.*a start will use the root at block \d+; .*restore the store from a backup\n$`).MatchString(got.out) {
		t.Errorf("exit status %d, printed %q; %s", got.status, got.out, got.stderr)
	}
}

// TestCheckNamesDoubtfulBlock checks that check names a value that changed after a kill, before its
// block had a checksum.
func TestCheckNamesDoubtfulBlock(t *testing.T) {
	dir, killed := t.TempDir(), t.TempDir()
	db, err := kivaloo.Open(dir, kivaloo.Options{BlockSize: 1024, NoSync: true, StorageCost: -1})
	must.Do(t, err)
	for round := range 3 { // the last two do not touch the first leaf
		b := new(kivaloo.Batch)
		for i := range 200 {
			if round == 0 || i == 199 {
				b.Set(fmt.Appendf(nil, "key %03d", i), fmt.Appendf(nil, "value %d of key %03d", round, i))
			}
		}
		must.Do(t, db.Apply(t.Context(), b))
		s, err := db.Snapshot(t.Context()) // writes pages
		must.Do(t, errors.Join(err, s.Close()))
	}
	found := false
	names, _ := filepath.Glob(filepath.Join(dir, "blks_*"))
	for _, name := range names {
		text, err := os.ReadFile(name)
		must.Do(t, err)
		if at := bytes.LastIndex(text, []byte("value 0 of key 003")); at >= 0 && string(text[at/1024*1024:][:5]) == "KVLDS" {
			text[at] ^= 1
			found = true
		}
		must.Do(t, os.WriteFile(filepath.Join(killed, filepath.Base(name)), text, 0o600))
	}
	if err := db.Close(); err != nil || !found {
		t.Fatal(err, found)
	}
	got := kivalooRun("", "check", killed)
	if got.status != 1 || !regexp.MustCompile(`(?s)^block \d+ \(root.*does not match the checksum.*a start will use the root`).MatchString(got.out) {
		t.Errorf("exit status %d, printed %q; %s", got.status, got.out, got.stderr)
	}
}

// TestCheckNamesDamagedSums checks that blocks with a damaged checksum file do not count as blocks
// without checksums, and that the file is named.
func TestCheckNamesDamagedSums(t *testing.T) {
	dir := t.TempDir()
	db, err := kivaloo.Open(dir, kivaloo.Options{BlockSize: 1024})
	must.Do(t, err)
	must.Do(t, db.Set(t.Context(), []byte("key"), []byte("value")))
	must.Do(t, db.Close())
	names, err := filepath.Glob(filepath.Join(dir, "sums_*"))
	if err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}
	last := names[len(names)-1]
	text, err := os.ReadFile(last)
	must.Do(t, err)
	text[len(text)-1] ^= 1
	must.Do(t, os.WriteFile(last, text, 0o600))
	got := kivalooRun("", "check", "--sums", dir)
	want := regexp.MustCompile(`(?m)^\d+ blocks? cannot be compared because checksum files are damaged: ` + regexp.QuoteMeta(last) + `$`)
	if got.status != 1 || !want.MatchString(got.out) || strings.Contains(got.out, "no checksum") {
		t.Errorf("exit status %d, printed %q; %s", got.status, got.out, got.stderr)
	}
}

// TestCheckJSON checks that --json prints the result as one object, faults included.
func TestCheckJSON(t *testing.T) {
	dir := makeStore(t, 1)
	var found checked
	r := kivalooRun("", "check", "--json", "--sums", dir)
	if err := json.Unmarshal([]byte(r.out), &found); err != nil || r.status != 0 || found.FaultCount != 0 || found.Leaves != 1 || found.Checked == nil {
		t.Errorf("status %d, %s, %v", r.status, r.out, err)
	}
	damaged := damagedDir(t, "key 100")
	r = kivalooRun("", "check", "--json", damaged)
	found = checked{}
	if err := json.Unmarshal([]byte(r.out), &found); err != nil || r.status != 1 || found.FaultCount == 0 || len(found.Faults) == 0 {
		t.Errorf("damaged: status %d, %s, %v, %s", r.status, r.out, err, r.stderr)
	}
}

// TestCheckShowsProgress checks that check shows its progress on a terminal.
func TestCheckShowsProgress(t *testing.T) {
	screen, terminal := openTerminal(t)
	dir := makeStore(t, 1)
	var out strings.Builder
	if status := run([]string{"check", dir}, strings.NewReader(""), &out, terminal); status != exitDone {
		t.Fatalf("exit status %d, printed %q", status, out.String())
	}
	must.Do(t, screen.SetReadDeadline(time.Now().Add(must.Patience)))
	seen := make([]byte, 4096)
	n, err := screen.Read(seen)
	if err != nil || !strings.Contains(string(seen[:n]), "blocks") {
		t.Errorf("seen: %q, %v", seen[:n], err)
	}
}

// TestPage checks that page prints a page as text, or its lines in an object.
func TestPage(t *testing.T) {
	dir := makeStore(t, 1)
	var store checked
	must.Do(t, json.Unmarshal([]byte(kivalooRun("", "check", "--json", dir).out), &store))
	block := fmt.Sprint(store.RootBlock)
	text := kivalooRun("", "page", dir, block)
	var got struct {
		Block uint64
		Lines []string
	}
	object := kivalooRun("", "page", "--json", dir, block)
	if err := json.Unmarshal([]byte(object.out), &got); err != nil || strings.Join(got.Lines, "\n")+"\n" != text.out || len(got.Lines) < 2 {
		t.Errorf("%v: %q, %q", err, object.out, text.out)
	}
	kivalooRun("", "page", dir, "x").want(t, 1, "", `BLOCK is a number, not "x"; see`)
	kivalooRun("", "page", dir, "99999").want(t, 1, "", "there is no block 99999")
}

// TestCheckBlockSizeOfSums truncates a page, so that its block size looks larger than it is. Check
// must take the size from the checksums, and name the block.
func TestCheckBlockSizeOfSums(t *testing.T) {
	dir := t.TempDir()
	db, err := kivaloo.Open(dir, kivaloo.Options{BlockSize: 1024, JournalBytes: -1, StorageCost: -1})
	must.Do(t, err)
	must.Do(t, errors.Join(db.Set(t.Context(), []byte("key"), []byte("value")), db.Close()))
	must.Do(t, os.Remove(filepath.Join(dir, "blks_0000000000000000")))
	name := filepath.Join(dir, "blks_0000000000000001") // a seal and a root
	text, err := os.ReadFile(name)
	must.Do(t, err)
	if len(text) != 2*1024 {
		t.Fatalf("%d bytes", len(text))
	}
	clear(text[1024:])
	must.Do(t, os.WriteFile(name, text, 0o600))
	for _, args := range [][]string{{"check", dir}, {"check", "--block-size", "1024", dir}} {
		if got := kivalooRun("", args...); got.status != exitError || !strings.Contains(got.stderr, "block 2: ") {
			t.Errorf("%v: exit status %d, %s", args, got.status, got.stderr)
		}
	}
	if got := kivalooRun("", "check", "--block-size", "2048", dir); !strings.Contains(got.stderr, "blocks of 1024 bytes, not 2048") {
		t.Errorf("with another block size: exit status %d, %s", got.status, got.stderr)
	}
}
