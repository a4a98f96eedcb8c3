package disk_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"kivaloo/disk"
	"kivaloo/disk/simfs"
	"kivaloo/internal/must"
)

// TestRemainsSigns checks that files which show that newer blocks exist or existed are reported,
// and no others.
func TestRemainsSigns(t *testing.T) {
	const last, sums40 = "blks_0000000000000028", "sums_0000000000000028"
	const far, farSums = "blks_0000000000ffffff", "sums_0000000000ffffff"
	put := func(name string, content []byte) func(*simfs.FS) {
		return func(fsys *simfs.FS) { fsys.Put(name, content) }
	}
	remove := func(name string) func(*simfs.FS) {
		return func(fsys *simfs.FS) { must.Do(t, fsys.Remove(name)) }
	}
	damagedSums := func(first, next uint64, at int) []byte {
		s := sumsOf(512, first, next)
		s[at] ^= 1
		return s
	}
	for _, test := range []struct {
		what string
		do   []func(*simfs.FS)
		sign string // how the only sign begins; empty: there is none
	}{
		{"nothing", nil, ""},
		{"checksums missing", []func(*simfs.FS){remove("sums_0000000000000014")}, ""},
		{"checksums of a block file that was freed", []func(*simfs.FS){remove("blks_0000000000000000")}, ""},
		{"a last file within a block", []func(*simfs.FS){put(last, make([]byte, 511))}, last + " does not end with"},
		{"an empty last file", []func(*simfs.FS){put("blks_0000000000000029", nil)}, "blks_0000000000000029 does not end with"},
		{"a last file missing", []func(*simfs.FS){put(sums40, sumsOf(512, 40, 41)), remove(last)}, sums40 + " has lost"},
		{"a last file missing, damaged checksums", []func(*simfs.FS){put(sums40, damagedSums(40, 41, 36)), remove(last)}, sums40 + " has lost"},
		{"a last file missing, damaged header", []func(*simfs.FS){put(sums40, damagedSums(40, 41, 3)), remove(last)}, sums40 + " has lost"},
		{"a last file missing, unfinished checksums", []func(*simfs.FS){put(sums40+".tmp", nil), remove(last)}, sums40 + ".tmp has lost"},
		{"a last file cut off", []func(*simfs.FS){put(sums40, damagedSums(40, 43, 36))}, sums40 + " is for more blocks"},
		{"a last file cut off, damaged header", []func(*simfs.FS){put(sums40, damagedSums(40, 43, 3))}, sums40 + " is for more blocks"},
		{"a file far away", []func(*simfs.FS){put(far, make([]byte, 512))}, far + " is left out"},
		{"more blocks far away", []func(*simfs.FS){put(far, make([]byte, 100*512))}, far + " is left out"}, // they have no checksums
		{"checksums far away", []func(*simfs.FS){put(farSums, sumsOf(512, 0xffffff, 0xffffff+9))}, farSums + " has lost"},
		{"a file too long", []func(*simfs.FS){put("blks_000000000000001e", make([]byte, 512)), remove("sums_0000000000000014")}, "blks_0000000000000014 is longer than"},
		{"a file within another", []func(*simfs.FS){put("blks_000000000000001e", make([]byte, 512))}, "blks_000000000000001e is left out"},
	} {
		fsys, s := threeFiles(t)
		closeStore(t, s)
		must.Do(t, fsys.Remove(sums40)) // as after a kill
		for _, do := range test.do {
			do(fsys)
		}
		r, err := disk.OpenRemains(dir, disk.Options{BlockSize: 512, FS: fsys, Log: quiet})
		must.Do(t, err)
		signs := r.Signs()
		if test.sign == "" && len(signs) > 0 || test.sign != "" && (len(signs) != 1 || !strings.HasPrefix(signs[0], test.sign)) {
			t.Errorf("%s: %q", test.what, signs)
		}
		if r.File(0) == (disk.Stretch{}) && !strings.Contains(test.what, "freed") {
			t.Errorf("%s: the store is left out", test.what)
		}
		must.Do(t, r.Close())
	}
}

// TestAllBlockFilesMissing checks that a store with nothing left but checksums is not taken for a
// new one, whatever block size is asked for. The checksums tell the size.
func TestAllBlockFilesMissing(t *testing.T) {
	for _, size := range []int{512, 2048} {
		fsys, s := threeFiles(t)
		closeStore(t, s)
		for _, name := range fsys.Names() {
			if strings.HasPrefix(name, "blks_") {
				must.Do(t, fsys.Remove(name))
			}
		}
		before := fsys.Names()
		s, err := disk.OpenInline(dir, disk.Options{BlockSize: size, FS: fsys, Log: quiet})
		if err == nil || !errors.Is(err, disk.ErrCorrupt) || !strings.Contains(err.Error(), "are missing") {
			t.Errorf("%d bytes: %v, %v", size, s, err)
		}
		d, err := fsys.OpenDir(dir)
		must.Do(t, err)
		if size, err := disk.SummedBlockSize(d); size != 512 || err != nil {
			t.Errorf("%d bytes according to the checksums, %v", size, err)
		}
		if !slices.Equal(fsys.Names(), before) {
			t.Errorf("%d bytes: %q are left of %q", size, fsys.Names(), before)
		}
	}
}
