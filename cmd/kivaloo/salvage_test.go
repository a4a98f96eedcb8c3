package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kivaloo"
	"kivaloo/internal/must"
)

// damagedDir makes a store of 200 pairs, and damages the pages that contain key, unless it is
// empty.
func damagedDir(t *testing.T, key string) string {
	t.Helper()
	dir := t.TempDir()
	db, err := kivaloo.Open(dir, kivaloo.Options{BlockSize: 512, StorageCost: -1, JournalBytes: -1})
	must.Do(t, err)
	b := new(kivaloo.Batch)
	for i := range 200 {
		b.Set(fmt.Appendf(nil, "key %03d\t", i), []byte("value"))
	}
	must.Do(t, errors.Join(db.Apply(t.Context(), b), db.Close()))
	names, _ := filepath.Glob(filepath.Join(dir, "blks_*"))
	for _, name := range names {
		text, err := os.ReadFile(name)
		must.Do(t, err)
		if at := bytes.Index(text, []byte(key)); key != "" && at >= 0 {
			clear(text[at/512*512:][:256])
			must.Do(t, os.WriteFile(name, text, 0o600))
		}
	}
	return dir
}

func TestSalvage(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	got := kivalooRun("", "salvage", damagedDir(t, ""), out)
	if got.status != exitDone || !strings.HasSuffix(got.out, "\ncertain\t\t\t200\n") {
		t.Errorf("a whole store: exit status %d, printed %q; %s", got.status, got.out, got.stderr)
	}
	if got := kivalooRun("", "check", out); got.status != exitDone {
		t.Errorf("check of the new store: %s", got.stderr)
	}
	dir := damagedDir(t, "key 100")
	if got := kivalooRun("", "check", dir); got.status != exitError || !strings.Contains(got.out, "kivaloo salvage "+dir+" OUT") {
		t.Errorf("check does not say what to do: %q", got.out)
	}
	if got := kivalooRun("", "salvage", dir, out); got.status != exitError || !strings.Contains(got.stderr, "is not empty") {
		t.Errorf("into a store: exit status %d, %s", got.status, got.stderr)
	}
	out2 := out + "2"
	got = kivalooRun("", "salvage", dir, out2)
	if got.status != exitUncertain || !strings.Contains(got.out, "\nlost\tkey 096\tkey 128\t0\n") {
		t.Errorf("a damaged store: exit status %d, printed %q; %s", got.status, got.out, got.stderr)
	}
	got = kivalooRun("", "salvage", "--json", dir, out+"3")
	lines := strings.Split(strings.TrimSpace(got.out), "\n")
	var sum salvagedObject
	if err := json.Unmarshal([]byte(lines[0]), &sum); err != nil || sum.Bad != 1 || sum.Certain != 168 || len(lines) != 4 {
		t.Errorf("as JSON: %q, %v", got.out, err)
	}
	var lost salvagedRange
	if err := json.Unmarshal([]byte(lines[2]), &lost); err != nil || lost.Trust != "lost" || lost.Start == nil || lost.End == nil {
		t.Errorf("as JSON: %q, %v", lines[2], err)
	}
}

// TestSalvageNotWhole checks that the report and the exit status say if a file shows a loss.
func TestSalvageNotWhole(t *testing.T) {
	dir := damagedDir(t, "")
	must.Do(t, os.WriteFile(filepath.Join(dir, "blks_0000000000ffffff"), make([]byte, 512), 0o600))
	got := kivalooRun("", "salvage", dir, filepath.Join(t.TempDir(), "out"))
	if got.status != exitUncertain || !strings.Contains(got.out, "  not whole  blks_0000000000ffffff is left out") || !strings.HasSuffix(got.out, "\nstale\t\t\t200\n") {
		t.Errorf("exit status %d, printed %q", got.status, got.out)
	}
}

// TestCheckAdvisesSalvage checks that check says what to do if a file is missing.
func TestCheckAdvisesSalvage(t *testing.T) {
	dir := damagedDir(t, "")
	names, _ := filepath.Glob(filepath.Join(dir, "blks_*"))
	if len(names) < 2 {
		t.Fatal("there is one file")
	}
	must.Do(t, os.Remove(names[len(names)-1]))
	if got := kivalooRun("", "check", dir); got.status != exitError || !strings.Contains(got.stderr, "kivaloo salvage "+dir+" OUT") {
		t.Errorf("check of a store without its last file: %q", got.stderr)
	}
	if got := kivalooRun("", "salvage", dir, filepath.Join(t.TempDir(), "out")); got.status == exitDone {
		t.Errorf("exit status 0, printed %q", got.out)
	}
}
