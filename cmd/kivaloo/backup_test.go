package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"kivaloo/wire"
)

// manyPairs is more than one answer of a fakeStore holds.
func manyPairs(t *testing.T) *fakeStore {
	s := startFake(t)
	pairs := map[string]string{}
	for i := range 2500 {
		pairs[fmt.Sprintf("%05d", i)] = "v"
	}
	s.replace(pairs)
	return s
}

func restoredPairs(t *testing.T, file string) result {
	t.Helper()
	return kivalooRun("", "restore", file, filepath.Join(t.TempDir(), "d"))
}

// A partial file is continued if it can be, and of no harm if not.
func TestBackupPartialFiles(t *testing.T) {
	s := manyPairs(t)
	file := filepath.Join(t.TempDir(), "backup")
	kivalooRun("", "backup", s.addr, file).want(t, 0, "", "backed up 2500 pairs")
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		partial []byte
		said    string
	}{
		"empty":    {nil, ""},
		"garbage":  {[]byte(strings.Repeat("garbage", 10000)), "cannot be continued: starting anew\n"},
		"header":   {whole[:24], "going on with PARTIAL after 0 pairs\n"},
		"a piece":  {whole[:15_000], "going on with PARTIAL after 1000 pairs\n"},
		"damaged":  {append(whole[:20_000:20_000], "garbage"...), "going on with PARTIAL after 2000 pairs\n"},
		"another":  {[]byte(strings.Replace(string(whole[:len(whole)-1]), "v", "w", 1)), "going on with PARTIAL after 0 pairs\n"},
		"complete": {whole, "going on with PARTIAL after 2500 pairs\n"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "backup")
			if err := os.WriteFile(file+partialSuffix, tc.partial, 0o600); err != nil {
				t.Fatal(err)
			}
			r := kivalooRun("", "backup", s.addr, file)
			said := strings.ReplaceAll(r.stderr, file+partialSuffix, "PARTIAL")
			if r.status != 0 || !strings.HasPrefix(strings.TrimPrefix(said, "PARTIAL "), tc.said+"backed up 2500 pairs") {
				t.Errorf("status %d, %q", r.status, said)
			}
			if got, err := os.ReadFile(file); err != nil || string(got) != string(whole) {
				t.Errorf("the backup differs: %d bytes, want %d; %v", len(got), len(whole), err)
			}
		})
	}
	restoredPairs(t, file).want(t, 0, "", "restored 2500 pairs")
}

// What is lost with the connection is only the piece that was under way.
func TestBackupInterrupted(t *testing.T) {
	s := manyPairs(t)
	s.hook = func(r wire.KVRequest) bool { return r.Type == wire.TypeBackup && string(r.Key) == "02000" }
	file := filepath.Join(t.TempDir(), "backup")
	kivalooRun("", "backup", s.addr, file).want(t, 1, "", "after 2000 pairs: backup at "+s.addr)
	if _, err := os.Stat(file + partialSuffix); err != nil {
		t.Error(err)
	}
	restoredPairs(t, file+partialSuffix).want(t, 1, "", "it is incomplete")
	r := kivalooRun("", "backup", s.addr, file)
	if r.status != 1 || !strings.HasPrefix(r.stderr, "going on with ") || !strings.HasSuffix(r.stderr, "the same command goes on with it, within a minute\n") {
		t.Errorf("again: status %d, %q", r.status, r.stderr)
	}
}

// A file that is not to be replaced is not, and two backups do not write to one file.
func TestBackupRefusesFiles(t *testing.T) {
	s := manyPairs(t)
	dir := t.TempDir()
	link, busy := filepath.Join(dir, "link"), filepath.Join(dir, "busy")
	if err := os.Symlink("/dev/null", link); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/null", filepath.Join(dir, "behind"+partialSuffix)); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(busy + partialSuffix)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	for file, stderr := range map[string]string{
		link:                          "is not an ordinary file: write to it with `kivaloo backup ... - > ",
		dir:                           "is not an ordinary file",
		filepath.Join(dir, "behind"):  "is not an ordinary file",
		busy:                          "is being written by another backup",
		filepath.Join(dir, "no", "x"): "no such file or directory",
	} {
		kivalooRun("", "backup", s.addr, file).want(t, 1, "", stderr)
	}
}

// A backup and a dump go to the directory that there was when they began.
func TestOutputStaysInItsDirectory(t *testing.T) {
	for _, command := range []string{"backup", "dump"} {
		s := manyPairs(t)
		place := t.TempDir()
		dir, moved := filepath.Join(place, "dir"), filepath.Join(place, "moved")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		var once sync.Once
		s.hook = func(r wire.KVRequest) bool {
			if r.Type == wire.TypeBackup || r.Type == wire.TypeRange {
				once.Do(func() {
					if err := errors.Join(os.Rename(dir, moved), os.Mkdir(dir, 0o700)); err != nil {
						t.Error(err)
					}
				})
			}
			return false
		}
		args := []string{"backup", s.addr, filepath.Join(dir, "file")}
		if command == "dump" {
			args = []string{"dump", "--addr", s.addr, "--output", filepath.Join(dir, "file")}
		}
		if r := kivalooRun("", args...); r.status != 0 {
			t.Errorf("%s: %+v", command, r)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
			t.Errorf("%s: the other directory has %v, %v", command, left, err)
		}
		if files, err := os.ReadDir(moved); err != nil || len(files) != 1 || files[0].Name() != "file" {
			t.Errorf("%s: the directory has %v, %v", command, files, err)
		}
	}
}
