package disk_test

import (
	"errors"
	"syscall"
	"testing"
	"time"

	"kivaloo/disk"
	"kivaloo/disk/simfs"
	"kivaloo/internal/must"
)

func TestFree(t *testing.T) {
	// Five files: 0..19, 20..39, 40..59, 60..79, 80..82.
	for _, test := range []struct {
		keep  uint64
		first uint64
	}{
		{0, 0}, {1, 0}, {19, 0}, {20, 20}, {21, 20}, {39, 20}, {40, 40}, {80, 80}, {82, 80}, {83, 80}, {84, 80}, {1<<64 - 1, 80},
	} {
		fsys := simfs.New(dir)
		s := openInline(t, fsys, 512)
		for range 4 {
			add(t, s, 20)
		}
		add(t, s, 3)
		equal(t, "files", blockFiles(t, fsys, dir), []uint64{0, 20, 40, 60, 80})
		wantBlocks(t, s, 0, 83) // opens the files
		free(t, s, test.keep)
		wantBlocks(t, s, test.first, 83)
		if got := blockFiles(t, fsys, dir)[0]; got != test.first {
			t.Errorf("free before %d: first file %d, want %d", test.keep, got, test.first)
		}
		if info := s.Info(); info.Next != 83 || info.Last != 82 {
			t.Errorf("free before %d: %+v", test.keep, info)
		}
		closeStore(t, s)
		if n := fsys.Handles(); n != 0 {
			t.Errorf("%d files are still open", n)
		}
		s = openInline(t, fsys, 512)
		wantBlocks(t, s, test.first, 83)
		closeStore(t, s)
	}
}

// TestCutDuringFree checks that files are removed from the front, one after the other, so that even
// a power cut leaves no gap.
func TestCutDuringFree(t *testing.T) {
	fsys := simfs.New(dir)
	s := openInline(t, fsys, 512)
	for range 4 {
		add(t, s, 20)
	}
	var states []*simfs.FS
	fsys.SetHook(func(simfs.Call) error {
		for _, answers := range fsys.Outcomes(1000) {
			states = append(states, fsys.Left(simfs.Answers(answers)))
		}
		return nil
	})
	free(t, s, 80)
	fsys.SetHook(nil)
	closeStore(t, s)
	if len(states) < 10 {
		t.Fatalf("only %d states", len(states))
	}
	for _, left := range states {
		s := openInline(t, left, 512)
		wantBlocks(t, s, blockFiles(t, left, dir)[0], 80)
		closeStore(t, s)
	}
}

// TestFreeClosesFiles checks that a discarded file is not kept open, because its space would not be
// freed.
func TestFreeClosesFiles(t *testing.T) {
	fsys := simfs.New(dir)
	s := openInline(t, fsys, 512)
	defer closeStore(t, s)
	add(t, s, 20)
	add(t, s, 20)
	wantBlocks(t, s, 0, 40)
	before := fsys.Handles()
	free(t, s, 20)
	if after := fsys.Handles(); after != before-1 {
		t.Errorf("%d files open, before it was %d", after, before)
	}
}

// TestFreeWhileFreeing checks that a Free during another one is acknowledged at once, and executed
// after it.
func TestFreeWhileFreeing(t *testing.T) {
	fsys := simfs.New(dir)
	s, err := disk.Open(dir, disk.Options{BlockSize: 512, FS: fsys})
	must.Do(t, err)
	for range 4 {
		add(t, s, 20)
	}
	removing, goOn := make(chan bool, 10), make(chan bool)
	fsys.SetHook(func(c simfs.Call) error {
		if c.Op == simfs.Remove && c.Name == "blks_0000000000000000" {
			removing <- true
			<-goOn
		}
		return nil
	})
	free(t, s, 20)
	<-removing
	wantBlocks(t, s, 20, 80) // the file being removed is already invisible
	add(t, s, 20)            // and nothing else waits for it
	free(t, s, 60)

	// Until more has piled up: then a new file does wait.
	added := make(chan bool)
	go func() {
		add(t, s, 20)
		close(added)
	}()
	select {
	case <-added:
		t.Error("a new file, while two wait to be removed")
	case <-time.After(50 * time.Millisecond):
	}
	close(goOn)
	<-added
	closeStore(t, s)
	equal(t, "files", blockFiles(t, fsys, dir), []uint64{60, 80, 100})
}

// TestFreeFailsBesideAppend checks that if the directory cannot be synced while files are removed,
// an append that needs the sync is not acknowledged. The next sync would succeed without having
// written anything.
func TestFreeFailsBesideAppend(t *testing.T) {
	for range 5 {
		fsys := simfs.New(dir)
		s, err := disk.Open(dir, disk.Options{BlockSize: 512, FS: fsys, Log: quiet})
		must.Do(t, err)
		for range 4 {
			add(t, s, 20)
		}
		removing, goOn := make(chan bool), make(chan bool)
		fsys.SetHook(func(c simfs.Call) error {
			if c.Op == simfs.Remove && c.Name == "blks_0000000000000000" {
				removing <- true
				<-goOn
			}
			return nil
		})
		free(t, s, 20)
		<-removing
		free(t, s, 60)
		fsys.Fail(simfs.SyncDir, 1, syscall.EIO)
		added := make(chan error)
		go func() { added <- tryAdd(s, 20) }()
		time.Sleep(20 * time.Millisecond) // by now it waits for the removal, after its check of the store
		close(goOn)
		if err := <-added; !errors.Is(err, disk.ErrFailed) {
			t.Fatalf("an append that makes a file: %v", err)
		}
		closeStore(t, s)
	}
}

// TestReadOfRemovedFile checks that a file removed by someone else is treated as if its blocks did
// not exist.
func TestReadOfRemovedFile(t *testing.T) {
	fsys := simfs.New(dir)
	s := openInline(t, fsys, 512)
	defer closeStore(t, s)
	add(t, s, 20)
	must.Do(t, fsys.Remove("blks_0000000000000000"))
	if ok, err := disk.ReadBlock(s, 3, make([]byte, 512)); ok || err != nil {
		t.Errorf("ok %v, %v", ok, err)
	}
}
