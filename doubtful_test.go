package kivaloo_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	kv "kivaloo"
	"kivaloo/internal/must"
)

// killedBlocks makes appends of pages long enough to have seals.
const killedBlocks = 1024

// killedStore returns a store as left by a killed process. It has several files, the last ones
// without checksums. Most pages are of earlier appends than the root.
func killedStore(t *testing.T) *blockFiles {
	t.Helper()
	dir := t.TempDir()
	db := openDB(t, dir, kv.Options{BlockSize: killedBlocks, StorageCost: -1, NoSync: true})
	for first := 0; first < damagedKeys; first += 100 {
		b := new(kv.Batch)
		for i := first; i < first+100; i++ {
			b.Set(damagedKey(i), []byte(damagedValue(i)))
		}
		must.Do(t, db.Apply(t.Context(), b))
		s, err := db.Snapshot(t.Context()) // begins a flush
		must.Do(t, err)
		must.Do(t, s.Close())
		eventually(t, func() bool { return db.Stats().Memtables == 0 })
	}
	files := readBlockFiles(t, dir, killedBlocks)
	files.keepSums(t)
	must.Do(t, db.Close())
	return files
}

// olderLeaves returns the leaves below the last root that are of an earlier append than the root.
func (f *blockFiles) olderLeaves() (leaves []diskPage) {
	f.walk(f.end()-1, func(d diskPage) {
		if d.height == 0 && f.appendOf(d.block) != f.appendOf(f.end()-1) {
			leaves = append(leaves, d)
		}
	})
	return leaves
}

// appendOf returns the first block of the append of pages that contains a block.
func (f *blockFiles) appendOf(block uint64) uint64 {
	for block > 0 && !strings.HasPrefix(string(f.page(block-1)), "KVJRN") || strings.Contains(string(f.page(block-2)), "kivaloo seal") {
		block--
	}
	return block
}

// TestDoubtfulBlock damages a value in a store that was killed before the block had a checksum. The
// append's seal reveals it. So every read of the block must fail and name it, from the first one
// on, and after a clean stop too.
func TestDoubtfulBlock(t *testing.T) {
	files := killedStore(t)
	leaves := files.olderLeaves()
	if n := len(files.names); n < 4 || len(leaves) < 50 {
		t.Fatalf("%d files, %d leaves", n, len(leaves))
	}
	for name, damage := range map[string]func(value []byte){
		"one bit": func(value []byte) { value[0] ^= 1 },
		"letters": func(value []byte) { copy(value, "wrong") },
	} {
		for i := 0; i < len(leaves); i += 1 + len(leaves)/8 {
			leaf := leaves[i]
			p := files.page(leaf.block)
			at := strings.LastIndex(string(p), "value ")
			before := string(p)
			damage(p[at:])
			files.write(t)
			for start := range 3 {
				what := fmt.Sprintf("%s of block %d, start %d", name, leaf.block, start+1)
				db, err := kv.Open(files.dir, kv.Options{ReadOnly: start == 0, StorageCost: -1})
				if err != nil {
					t.Fatalf("%s: %v", what, err)
				}
				failed := map[uint64]bool{}
				for n := range damagedKeys {
					value, err := db.Get(t.Context(), damagedKey(n))
					var corrupt *kv.CorruptionError
					switch {
					case errors.As(err, &corrupt):
						failed[corrupt.Block] = true
					case err != nil || string(value) != damagedValue(n):
						t.Fatalf("%s: %s is %q, %v", what, damagedKey(n), value, err)
					}
				}
				if len(failed) == 0 || name == "one bit" && (len(failed) > 1 || !failed[leaf.block]) {
					t.Errorf("%s: reads of blocks %v failed", what, failed)
				}
				for block := range failed {
					if files.appendOf(block) != files.appendOf(leaf.block) {
						t.Errorf("%s: a read of block %d failed", what, block)
					}
				}
				if err := db.Verify(t.Context()); err == nil || !strings.Contains(err.Error(), "block") {
					t.Errorf("%s: Verify says %v", what, err)
				}
				must.Do(t, db.Close())
			}
			copy(p, before)
		}
	}
}
