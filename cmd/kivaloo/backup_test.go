package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kivaloo/internal/must"
	"kivaloo/wire"
	"kivaloo/wire/wiretest"
)

// manyPairs is a store with more pairs than one answer holds. It has one snapshot, which stays.
func manyPairs(t *testing.T) *fakeStore {
	s := startFake(t)
	pairs := map[string]string{}
	for i := range 2500 {
		pairs[fmt.Sprintf("%05d", i)] = "v"
	}
	s.Replace(pairs)
	s.Extensions, s.Snapshots = true, map[uint64]wiretest.Model{1: pairs}
	s.hangUpAt(func(wire.KVRequest) bool { return false })
	return s
}

func restoredPairs(t *testing.T, file string) result {
	t.Helper()
	return kivalooRun("", "restore", file, filepath.Join(t.TempDir(), "d"))
}

// TestBackupPartialFiles checks that a partial file is continued if possible, and harmless if not.
func TestBackupPartialFiles(t *testing.T) {
	s := manyPairs(t)
	file := filepath.Join(t.TempDir(), "backup")
	kivalooRun("", "backup", s.addr, file).want(t, 0, "", "backed up 2500 pairs")
	whole, err := os.ReadFile(file)
	must.Do(t, err)
	for name, tc := range map[string]struct {
		partial []byte
		said    string
	}{
		"empty":    {nil, ""},
		"garbage":  {[]byte(strings.Repeat("garbage", 10000)), "cannot be continued: starting again\n"},
		"header":   {whole[:24], "going on with PARTIAL after 0 pairs\n"},
		"a piece":  {whole[:15_000], "going on with PARTIAL after 1000 pairs\n"},
		"damaged":  {append(whole[:20_000:20_000], "garbage"...), "going on with PARTIAL after 2000 pairs\n"},
		"another":  {[]byte(strings.Replace(string(whole[:len(whole)-1]), "v", "w", 1)), "going on with PARTIAL after 0 pairs\n"},
		"complete": {whole, "going on with PARTIAL after 2500 pairs\n"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "backup")
			must.Do(t, os.WriteFile(file+partialSuffix, tc.partial, 0o600))
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

// TestBackupInterrupted checks that a lost connection costs only the current piece.
func TestBackupInterrupted(t *testing.T) {
	s := manyPairs(t)
	s.hangUpAt(func(r wire.KVRequest) bool { return r.Type == wire.TypeScan && string(r.Key) == "02000" })
	file := filepath.Join(t.TempDir(), "backup")
	kivalooRun("", "backup", s.addr, file).want(t, 1, "", "after 2000 pairs: backup at "+s.addr)
	if _, err := os.Stat(file + partialSuffix); err != nil {
		t.Error(err)
	}
	restoredPairs(t, file+partialSuffix).want(t, 1, "", "it is incomplete")
	r := kivalooRun("", "backup", s.addr, file)
	if r.status != 1 || !strings.HasPrefix(r.stderr, "going on with ") || !strings.HasSuffix(r.stderr, "run the same command within a minute to go on\n") {
		t.Errorf("again: status %d, %q", r.status, r.stderr)
	}
}

// TestBackupNotOffered checks that the message for a server of the original, which has no
// snapshots, says what to use instead.
func TestBackupNotOffered(t *testing.T) {
	s := startFake(t, "k=v")
	dir := t.TempDir()
	kivalooRun("", "backup", s.addr, filepath.Join(dir, "backup")).want(t, 1, "",
		"which a server of the original does not have; use `kivaloo dump`, whose pairs are not of one moment\n")
	onlyFiles(t, dir)
}

// signalling sends a signal to this process at the first read.
type signalling struct {
	io.Reader
	sig  syscall.Signal
	once sync.Once
}

func (s *signalling) Read(b []byte) (int, error) {
	s.once.Do(func() {
		arrived := make(chan os.Signal, 1)
		signal.Notify(arrived, s.sig)
		defer signal.Stop(arrived)
		syscall.Kill(os.Getpid(), s.sig)
		<-arrived
	})
	time.Sleep(time.Millisecond) // the rest takes some time
	return s.Reader.Read(b[:min(len(b), 64)])
}

// TestBackupAndRestoreTidyUp checks that a signal ends a restore or backup cleanly, and that
// useless files are removed.
func TestBackupAndRestoreTidyUp(t *testing.T) {
	for _, sig := range tidied() {
		t.Run(sig.String(), func(t *testing.T) {
			s := manyPairs(t)
			release := make(chan struct{})
			s.hangUpAt(func(r wire.KVRequest) bool {
				if r.Type == wire.TypeScan {
					syscall.Kill(os.Getpid(), sig)
					<-release
				}
				return false
			})
			dir := t.TempDir()
			kivalooRun("", "backup", s.addr, filepath.Join(dir, "b")).want(t, 1, "", "kivaloo: interrupted after 0 pairs")
			close(release)
			onlyFiles(t, dir)

			backup := kivalooRun("", "backup", manyPairs(t).addr, "-")
			var out, said strings.Builder
			in := &signalling{Reader: strings.NewReader(backup.out), sig: sig}
			status := run([]string{"restore", "-", filepath.Join(dir, "d")}, in, &out, &said)
			if status != 1 || !strings.Contains(said.String(), "kivaloo: interrupted; ") {
				t.Errorf("restore: status %d, %q", status, said.String())
			}
			onlyFiles(t, dir)
		})
	}
}

// TestNoOutputInAStore checks that no other file is written to a store's directory.
func TestNoOutputInAStore(t *testing.T) {
	s := startFake(t, "k=v")
	for _, name := range []string{"blks_0000000000000000", "blks_00000000000000ff", "sums_0000000000000000", "sums_0000000000000000.tmp", "kivaloo.failed"} {
		dir := t.TempDir()
		must.Do(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
		for _, file := range []string{name, "file"} {
			path := filepath.Join(dir, file)
			kivalooRun("", "backup", s.addr, path).want(t, 1, "", path+" would be in a directory that holds a store: choose another directory")
			kivalooRun("", "dump", "-a", s.addr, "-o", path).want(t, 1, "", " would be in a directory that holds a store")
		}
		onlyFiles(t, dir, name)
	}
}

// TestEmptyArguments checks that an empty argument does not mean this directory or the default
// server.
func TestEmptyArguments(t *testing.T) {
	s := startFake(t, "k=v")
	t.Setenv(addrVariable, s.addr)
	t.Chdir(t.TempDir())
	kivalooRun("", "backup", "", "file").want(t, 1, "", "ADDR|DIR is empty; see `kivaloo backup --help`")
	kivalooRun("", "backup", s.addr, "").want(t, 1, "", "FILE is empty")
	onlyFiles(t, ".")
	t.Chdir(t.TempDir())
	whole := filepath.Join(t.TempDir(), "backup")
	kivalooRun("", "backup", manyPairs(t).addr, whole).want(t, 0, "", "backed up 2500 pairs,")
	kivalooRun("", "restore", whole, "").want(t, 1, "", "DIR is empty; see `kivaloo restore --help`")
	kivalooRun("", "restore", "", "d").want(t, 1, "", "FILE is empty")
	onlyFiles(t, ".")
}

// TestBackupRefusesFiles checks that some existing files are not replaced, and that two backups do
// not write to one file.
func TestBackupRefusesFiles(t *testing.T) {
	s := manyPairs(t)
	dir := t.TempDir()
	link, busy := filepath.Join(dir, "link"), filepath.Join(dir, "busy")
	must.Do(t, os.Symlink("/dev/null", link))
	must.Do(t, os.Symlink("/dev/null", filepath.Join(dir, "behind"+partialSuffix)))
	f, err := os.Create(busy + partialSuffix)
	must.Do(t, err)
	defer f.Close()
	must.Do(t, unix.Flock(int(f.Fd()), unix.LOCK_EX))
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

// TestOutputStaysInItsDirectory checks that a backup or dump is written to the directory in which
// it began.
func TestOutputStaysInItsDirectory(t *testing.T) {
	for _, command := range []string{"backup", "dump"} {
		s := manyPairs(t)
		place := t.TempDir()
		dir, moved := filepath.Join(place, "dir"), filepath.Join(place, "moved")
		must.Do(t, os.Mkdir(dir, 0o700))
		var once sync.Once
		s.hangUpAt(func(r wire.KVRequest) bool {
			if r.Type == wire.TypeScan || r.Type == wire.TypeRange {
				once.Do(func() {
					if err := errors.Join(os.Rename(dir, moved), os.Mkdir(dir, 0o700)); err != nil {
						t.Error(err)
					}
				})
			}
			return false
		})
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
