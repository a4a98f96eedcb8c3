package kivaloo_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	kv "kivaloo"
	"kivaloo/internal/must"
)

// tornCommits is the number of commits, of one pair each, in the journal of crashedStore.
const tornCommits = 12

// crashedStore returns a store as left by a killed process: a root that is not the first, followed
// by commits that are only in the journal, at the given blocks. want is everything acknowledged.
func crashedStore(t *testing.T) (files *blockFiles, root uint64, journal []uint64, want contents) {
	t.Helper()
	for range 100 { // until no flush comes between the commits
		dir := t.TempDir()
		want = contents{}
		commit := func(db *kv.DB, key string) {
			want[key] = "value of " + key
			must.Do(t, db.Set(t.Context(), []byte(key), []byte(want[key])))
		}
		db, err := kv.Open(dir, kv.Options{BlockSize: 512})
		must.Do(t, err)
		for i := range 40 {
			commit(db, fmt.Sprintf("before %02d", i))
		}
		must.Do(t, db.Close())
		db, err = kv.Open(dir, kv.Options{BlockSize: 512})
		must.Do(t, err)
		for i := range tornCommits {
			commit(db, fmt.Sprintf("commit %02d", i))
		}
		files = readBlockFiles(t, dir, 512)
		files.keepSums(t)
		must.Do(t, db.Close())
		root, journal = 0, nil
		for block := files.firsts[0]; block < files.end(); block++ {
			switch p := files.page(block); {
			case strings.HasPrefix(string(p), "KVJRN\x00"):
				journal = append(journal, block)
			case strings.HasPrefix(string(p), "KVLDS\x00") && p[8]&0x80 != 0:
				root, journal = block, nil
			}
		}
		if len(journal) == tornCommits && root > 0 {
			return files, root, journal, want
		}
	}
	t.Fatal("no store has its last commits in the journal only")
	return
}

// wantSaid opens a damaged store. It fails the test if an acknowledged change is missing without an
// error. A log line about skipped blocks is not enough: any crash causes it.
func (f *blockFiles) wantSaid(t *testing.T, what string, want contents) {
	t.Helper()
	f.write(t)
	db, err := kv.Open(f.dir, kv.Options{})
	if err != nil {
		return
	}
	defer db.Close()
	got := contents{}
	for p, err := range db.Range(t.Context(), nil, nil) {
		if err != nil {
			return
		}
		got[string(p.Key)] = string(p.Value)
	}
	if !maps.Equal(got, want) && db.Verify(t.Context()) == nil {
		t.Errorf("%s: %d pairs are there, %d were acknowledged, and nothing is said", what, len(got), len(want))
	}
}

// TestDamagedFirstCommit checks that damage to the first commit after a root is not taken for a
// torn append, because other commits follow it.
func TestDamagedFirstCommit(t *testing.T) {
	files, _, journal, want := crashedStore(t)
	for _, commit := range []int{0, 1, tornCommits - 2} {
		p := files.page(journal[commit])
		for at := 3; at < len(p); at += 67 {
			p[at] ^= 0x10
			files.wantSaid(t, fmt.Sprintf("commit %d, offset %d", commit, at), want)
			p[at] ^= 0x10
		}
	}
}

// TestStaleRootInJournal checks that an old root page in the place of a journal block is not used
// as the root.
func TestStaleRootInJournal(t *testing.T) {
	files, root, journal, want := crashedStore(t)
	for commit, block := range journal[:tornCommits-1] {
		before := string(files.page(block))
		copy(files.page(block), files.page(root))
		files.wantSaid(t, fmt.Sprintf("the root in the place of commit %d", commit), want)
		copy(files.page(block), before)
	}
}

// TestTornEnd checks that damage to the last commit after a crash loses no other commit. It may be
// a commit that was never acknowledged.
func TestTornEnd(t *testing.T) {
	files, _, journal, want := crashedStore(t)
	clear(files.page(journal[tornCommits-1]))
	files.write(t)
	delete(want, fmt.Sprintf("commit %02d", tornCommits-1))
	db := openDB(t, files.dir, kv.Options{})
	want.same(t, gather(t, db.Range(t.Context(), nil, nil)))
}

// TestEndAfterCleanStop checks that a cleanly stopped store has no torn end. If its last files, or
// parts of them, are missing, or its last commit is damaged, it says so.
func TestEndAfterCleanStop(t *testing.T) {
	for name, o := range map[string]kv.Options{
		"journal": {BlockSize: 512, StorageCost: -1}, "pages": {BlockSize: 512, StorageCost: -1, JournalBytes: -1},
	} {
		dir, want := t.TempDir(), contents{}
		for i := range 4 {
			db, err := kv.Open(dir, o)
			must.Do(t, err)
			b := new(kv.Batch)
			for j := range 50 { // enough that the first leaf stays and nothing is freed
				key := fmt.Sprintf("key %d %02d", i, j)
				want[key] = "value of " + key
				b.Set([]byte(key), []byte(want[key]))
			}
			must.Do(t, db.Apply(t.Context(), b))
			must.Do(t, db.Close())
		}
		whole := readBlockFiles(t, dir, o.BlockSize)
		whole.keepSums(t)
		n := len(whole.names)
		for gone := 1; gone < n; gone++ {
			files := *whole
			files.names, files.firsts, files.content = whole.names[:n-gone], whole.firsts[:n-gone], whole.content[:n-gone]
			files.wantSaid(t, fmt.Sprintf("%s: the last %d block files are gone", name, gone), want)
		}
		for cut := o.BlockSize / 2; cut < len(whole.content[n-1]); cut += o.BlockSize / 2 {
			files := *whole
			files.content = slices.Clone(whole.content)
			files.content[n-1] = whole.content[n-1][:len(whole.content[n-1])-cut]
			files.wantSaid(t, fmt.Sprintf("%s: %d bytes are cut off", name, cut), want)
		}
		for block := whole.firsts[n-1]; block < whole.end(); block++ {
			p := whole.page(block)
			p[60] ^= 1
			whole.wantSaid(t, fmt.Sprintf("%s: block %d of %d is damaged", name, block, whole.end()), want)
			p[60] ^= 1
		}
	}
}
