package simfs_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"kivaloo/disk"
	"kivaloo/disk/simfs"
	"kivaloo/internal/must"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const dir = "/d"

func create(t *testing.T, s *simfs.FS, name, content string) disk.File {
	t.Helper()
	f, err := s.Create(name)
	must.Do(t, err)
	_, err = f.WriteAt([][]byte{[]byte(content)}, 0)
	must.Do(t, err)
	return f
}

// outcomes crashes s many times and counts what describe returns for the results.
func outcomes(s *simfs.FS, describe func(*simfs.FS) string) map[string]int {
	seen := make(map[string]int)
	for seed := range uint64(300) {
		seen[describe(s.Left(simfs.Mood(rand.New(rand.NewPCG(seed, 0)))))]++
	}
	return seen
}

func names(s *simfs.FS) string { return strings.Join(s.Names(), " ") }

func TestSyncedSurvives(t *testing.T) {
	s := simfs.New(dir)
	f := create(t, s, "a", "hello")
	must.Do(t, f.Sync())
	must.Do(t, s.Sync())
	for what := range outcomes(s, func(s *simfs.FS) string { return string(s.Content("a")) }) {
		if what != "hello" {
			t.Errorf("left with %q", what)
		}
	}
}

// TestNamesAfterCrash checks that every possible result for an unsynced name occurs, and that a
// rename is atomic.
func TestNamesAfterCrash(t *testing.T) {
	s := simfs.New(dir)
	must.Do(t, create(t, s, "old", "1").Sync())
	must.Do(t, create(t, s, "gone", "2").Sync())
	must.Do(t, s.Sync())
	create(t, s, "new", "3")
	must.Do(t, s.Remove("gone"))
	must.Do(t, s.Rename("old", "renamed"))
	seen := outcomes(s, names)
	want := []string{
		"gone new old", "gone new renamed", "gone old", "gone renamed",
		"new old", "new renamed", "old", "renamed",
	}
	if got := slices.Sorted(maps.Keys(seen)); !slices.Equal(got, want) {
		t.Errorf("left with %q, want all of %q", got, want)
	}
	if got := names(s); got != "new renamed" {
		t.Errorf("the process sees %q", got)
	}
}

// TestTornWrite checks that an unsynced write of three sectors over one leaves every mixture of
// them. Each sector is there or not, and there may be rubbish where nothing was before.
func TestTornWrite(t *testing.T) {
	s := simfs.New(dir)
	f := create(t, s, "a", strings.Repeat("o", 512))
	must.Do(t, f.Sync())
	must.Do(t, s.Sync())
	_, err := f.WriteAt([][]byte{bytes.Repeat([]byte("n"), 1000), bytes.Repeat([]byte("n"), 536)}, 0)
	must.Do(t, err)
	lengths := make(map[int]bool)
	seen := outcomes(s, func(s *simfs.FS) string {
		left := s.Content("a")
		lengths[len(left)] = true
		what := ""
		for sector := range slices.Chunk(left, 512) {
			letter := string(sector[:1])
			if len(bytes.Trim(sector, letter)) > 0 || len(sector) < 512 && !strings.Contains("on\x00", letter) {
				if what == "" || bytes.Contains(sector, []byte("nnnnnnnn")) {
					t.Fatalf("a sector is torn: %q", sector)
				}
				letter = "r"
			}
			what += letter
		}
		return strings.ReplaceAll(what, "\x00", "0")
	})
	for _, want := range []string{"o", "n", "nnn", "onn", "nn0", "o0n", "o00", "n0n", "on", "n0", "nrn", "orr"} {
		if seen[want] == 0 {
			t.Errorf("never left with %s of %v", want, seen)
		}
	}
	if !lengths[512] || !lengths[1536] || len(lengths) < 10 {
		t.Errorf("lengths %v", lengths)
	}
}

// TestOutcomes checks that every outcome is found once. Lengths are only those around the ends of
// sectors.
func TestOutcomes(t *testing.T) {
	s := simfs.New(dir)
	f := create(t, s, "a", strings.Repeat("o", 512))
	must.Do(t, f.Sync())
	must.Do(t, s.Sync())
	_, err := f.WriteAt([][]byte{bytes.Repeat([]byte("n"), 1536)}, 0)
	must.Do(t, err)
	create(t, s, "b", "")
	all := s.Outcomes(1000)
	// Lengths 512, 1024, 1535 and 1536: the first sector is old or new, the later ones are new,
	// zeros or rubbish.
	if want := 2 * (2 + 2*3 + 2*3*3 + 2*3*3); len(all) != want {
		t.Errorf("%d outcomes, want %d", len(all), want)
	}
	seen := make(map[string]bool)
	for _, answers := range all {
		left := s.Left(simfs.Answers(answers))
		seen[names(left)+string(left.Content("a"))] = true
	}
	if len(seen) != len(all) {
		t.Errorf("%d of %d outcomes differ", len(seen), len(all))
	}
	if s.Outcomes(len(all)-1) != nil || len(s.Outcomes(len(all))) != len(all) {
		t.Error("the limit is not kept to")
	}
}

// TestLeftIsACopy checks that the result of a crash or a kill and the original file system do not
// change each other.
func TestLeftIsACopy(t *testing.T) {
	s := simfs.New(dir)
	f := create(t, s, "a", "synced")
	must.Do(t, f.Sync())
	must.Do(t, s.Sync())
	write := func(s *simfs.FS, text string) {
		f, err := s.Open("a", true)
		must.Do(t, err)
		_, err = f.WriteAt([][]byte{[]byte(text)}, 0)
		must.Do(t, err)
		must.Do(t, f.Sync())
	}
	crashed, again, killed := s.Left(simfs.Answers(nil)), s.Left(simfs.Answers(nil)), s.Kill()
	write(s, "one")
	write(crashed, "two")
	write(killed, "three")
	for _, test := range []struct {
		fsys *simfs.FS
		want string
	}{{s, "oneced"}, {crashed, "twoced"}, {again, "synced"}, {killed, "threed"}} {
		if got := string(test.fsys.Left(simfs.Answers(nil)).Content("a")); got != test.want || string(test.fsys.Content("a")) != test.want {
			t.Errorf("%q on disk, want %q", got, test.want)
		}
	}
}

func TestCrashIsDeterministic(t *testing.T) {
	s := simfs.New(dir)
	for i := range 5 {
		create(t, s, fmt.Sprint(i), strings.Repeat("x", 3000))
	}
	describe := func(s *simfs.FS) string {
		all := names(s)
		for _, name := range s.Names() {
			all += string(s.Content(name))
		}
		return all
	}
	for seed := range uint64(20) {
		one, two := s.Crash(rand.New(rand.NewPCG(seed, 0))), s.Crash(rand.New(rand.NewPCG(seed, 0)))
		if describe(one) != describe(two) {
			t.Errorf("seed %d gives two outcomes", seed)
		}
	}
}

// TestFailedSyncLoses checks that no later sync makes up for a failed one.
func TestFailedSyncLoses(t *testing.T) {
	s := simfs.New(dir)
	s.Put("a", nil)
	f, err := s.Open("a", true)
	must.Do(t, err)
	_, err = f.WriteAt([][]byte{[]byte("lost")}, 0)
	must.Do(t, err)
	create(t, s, "b", "")
	s.Fail(simfs.Sync, 1, syscall.EIO)
	s.Fail(simfs.SyncDir, 1, syscall.EIO)
	if err := f.Sync(); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	if err := s.Sync(); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	_, err = f.WriteAt([][]byte{[]byte("kept")}, 4)
	must.Do(t, err)
	create(t, s, "c", "")
	must.Do(t, f.Sync())
	must.Do(t, s.Sync())
	seen := outcomes(s, func(s *simfs.FS) string { return fmt.Sprintf("%q %s", s.Content("a"), names(s)) })
	if seen[`"\x00\x00\x00\x00kept" a c`] == 0 || seen[`"lostkept" a b c`] == 0 {
		t.Errorf("left with %v", seen)
	}
	for what := range seen {
		if !strings.Contains(what, "kept") || !strings.HasSuffix(what, "c") {
			t.Errorf("left with %s: what was synced afterwards is gone", what)
		}
	}
}

// TestDropCache checks that data lost by a failed sync is visible until the cache is dropped, or
// permanently if it is written again.
func TestDropCache(t *testing.T) {
	s := simfs.New(dir)
	f := create(t, s, "a", "old")
	must.Do(t, f.Sync())
	for _, again := range []bool{false, true} {
		_, err := f.WriteAt([][]byte{[]byte("new, longer")}, 0)
		must.Do(t, err)
		s.Fail(simfs.Sync, 1, syscall.EIO)
		if err := f.Sync(); !errors.Is(err, syscall.EIO) {
			t.Fatal(err)
		}
		if got := string(s.Content("a")); got != "new, longer" {
			t.Errorf("before the cache is dropped: %q", got)
		}
		want := "old\x00 longer" // one byte more was written after what was there
		_, err = f.WriteAt([][]byte{[]byte(" longer")}, 4)
		must.Do(t, err)
		if again {
			want = "new, longer"
			_, err = f.WriteAt([][]byte{[]byte("new,")}, 0)
			must.Do(t, err)
		}
		after := s.Kill()
		g, err := after.Open("a", true)
		must.Do(t, err)
		must.Do(t, g.Sync())
		after.DropCache()
		if got := string(after.Content("a")); got != want {
			t.Errorf("written again %v: %q, want %q", again, got, want)
		}
		s.DropCache()
		if got := string(s.Content("a")); got != want {
			t.Errorf("unsynced, written again %v: %q, want %q", again, got, want)
		}
	}
}

// TestKill checks that a kill loses nothing, and that a later crash can still lose the same.
func TestKill(t *testing.T) {
	s := simfs.New(dir)
	create(t, s, "a", "written")
	lock(t, s, true)
	after := s.Kill()
	if got := after.Content("a"); string(got) != "written" {
		t.Errorf("left with %q", got)
	}
	lock(t, after, true)
	if seen := outcomes(after, names); seen[""] == 0 || seen["a"] == 0 {
		t.Errorf("after another crash: %v", seen)
	}
	// The two are independent now.
	f, err := after.Open("a", true)
	must.Do(t, err)
	must.Do(t, f.Truncate(0))
	if got := s.Content("a"); string(got) != "written" {
		t.Errorf("the original now has %q", got)
	}
}

func TestCapacity(t *testing.T) {
	s := simfs.New(dir)
	f := create(t, s, "a", "12345")
	s.SetCapacity(8)
	n, err := f.WriteAt([][]byte{[]byte("abcdefgh")}, 4) // one byte over, seven after it
	if n != 4 || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("wrote %d, %v", n, err)
	}
	if got := s.Content("a"); string(got) != "1234abcd" {
		t.Errorf("content %q", got)
	}
	must.Do(t, f.Truncate(2))
	_, err = f.WriteAt([][]byte{[]byte("xxxxxx")}, 2)
	must.Do(t, err)
}

func TestHook(t *testing.T) {
	s := simfs.New(dir)
	var calls []string
	s.SetHook(func(c simfs.Call) error {
		calls = append(calls, fmt.Sprint(c.Op, " ", c.Name, " ", c.Offset, c.Len, c.Done))
		if c.Done > 0 {
			return io.ErrUnexpectedEOF
		}
		return nil
	})
	f, err := s.Create("a")
	must.Do(t, err)
	if n, err := f.WriteAt([][]byte{[]byte("123"), []byte("456")}, 2); n != 3 || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("wrote %d, %v", n, err)
	}
	if got := s.Content("a"); string(got) != "\x00\x00123" {
		t.Errorf("content %q", got)
	}
	want := []string{"create a 0 0 0", "write a 2 6 0", "write a 2 6 3"}
	if !slices.Equal(calls, want) {
		t.Errorf("calls %q, want %q", calls, want)
	}
}

func TestFailCounts(t *testing.T) {
	s := simfs.New(dir)
	f := create(t, s, "a", "")
	s.Fail(simfs.Sync, 2, syscall.EIO)
	var failed []bool
	for range 4 {
		failed = append(failed, f.Sync() != nil)
	}
	if !slices.Equal(failed, []bool{false, true, false, false}) {
		t.Errorf("failed: %v", failed)
	}
}

func TestMisuse(t *testing.T) {
	s := simfs.New(dir)
	f := create(t, s, "a", "x")
	must.Do(t, f.Close())
	reader, err := s.Open("a", false)
	must.Do(t, err)
	for what, test := range map[string]struct{ got, want error }{
		"close twice":          {f.Close(), fs.ErrClosed},
		"sync after close":     {f.Sync(), fs.ErrClosed},
		"write for reading":    {reader.Truncate(0), fs.ErrPermission},
		"open what is missing": {second(s.Open("b", false)), fs.ErrNotExist},
		"open elsewhere":       {second(s.OpenDir("/e")), fs.ErrNotExist},
		"create what is there": {second(s.Create("a")), fs.ErrExist},
		"remove what is not":   {s.Remove("b"), fs.ErrNotExist},
		"rename what is not":   {s.Rename("b", "c"), fs.ErrNotExist},
	} {
		if !errors.Is(test.got, test.want) {
			t.Errorf("%s: %v, want %v", what, test.got, test.want)
		}
	}
	if n := s.Handles(); n != 1 {
		t.Errorf("%d handles, want 1", n)
	}
}

func second[T any](_ T, err error) error { return err }

// tryLock opens the directory and locks it.
func tryLock(t *testing.T, s *simfs.FS, exclusive bool) (disk.Dir, error) {
	t.Helper()
	d, err := s.OpenDir(dir)
	must.Do(t, err)
	return d, d.Lock(exclusive)
}

func lock(t *testing.T, s *simfs.FS, exclusive bool) disk.Dir {
	t.Helper()
	d, err := tryLock(t, s, exclusive)
	must.Do(t, err)
	return d
}

func TestLock(t *testing.T) {
	s := simfs.New(dir)
	one, two := lock(t, s, false), lock(t, s, false)
	refused, err := tryLock(t, s, true)
	if !errors.Is(err, disk.ErrLocked) {
		t.Errorf("exclusive beside shared: %v", err)
	}
	refused.Close() // which releases no lock
	one.Close()
	one.Close()
	if _, err := tryLock(t, s, true); !errors.Is(err, disk.ErrLocked) {
		t.Errorf("exclusive beside the other: %v", err)
	}
	two.Close()
	three := lock(t, s, true)
	if _, err := tryLock(t, s, false); !errors.Is(err, disk.ErrLocked) {
		t.Errorf("shared beside exclusive: %v", err)
	}
	three.Close()
	lock(t, s, false)
}
