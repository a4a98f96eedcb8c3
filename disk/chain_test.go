package disk

import "testing"

// tableOf returns a table of files that start at the given blocks.
func tableOf(next uint64, firsts ...uint64) *table {
	t := &table{next: next}
	for _, first := range firsts {
		t.files = append(t.files, &file{first: first})
	}
	return t
}

func TestNeedsFile(t *testing.T) {
	const size = 4096
	const most = (1<<31 - 1) / size // blocks in a file
	tests := []struct {
		name  string
		table *table
		n     uint64
		want  bool
	}{
		{"empty store", tableOf(0), 1, true},
		{"one block of one", tableOf(1, 0), 1, true},
		{"an empty file of none", tableOf(0, 0), 1, false},
		{"an empty file, much to write", tableOf(50, 50), 2 * most, false},
		{"exactly a sixteenth", tableOf(160, 0, 150), 1, false},
		{"a little more", tableOf(159, 0, 149), 1, true},
		{"a sixteenth of what is left", tableOf(1160, 1000, 1150), 1, false},
		{"more than a sixteenth of what is left", tableOf(1160, 1001, 1150), 1, true},
		{"the longest file", tableOf(100*most, 0, 99*most+2), 2, false},
		{"longer than that", tableOf(100*most, 0, 99*most+2), 3, true},
		{"one append longer than that", tableOf(100*most, 0, 100*most-1), 2 * most, true},
		{"full", tableOf(100*most, 0, 99*most), 1, true},
	}
	for _, test := range tests {
		if got := test.table.needsFile(test.n, size); got != test.want {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}

func TestFind(t *testing.T) {
	// Files 5..7, 8, 9..14, and an empty one at 15.
	full := tableOf(15, 5, 8, 9, 15)
	want := map[uint64]uint64{5: 5, 6: 5, 7: 5, 8: 8, 9: 9, 14: 9}
	for _, block := range []uint64{0, 4, 5, 6, 7, 8, 9, 14, 15, 16, 1<<64 - 1} {
		f := full.find(block)
		first, found := want[block]
		if (f != nil) != found || f != nil && f.first != first {
			t.Errorf("block %d: file %v", block, f)
		}
	}
	if f := tableOf(15, 5, 8, 9).find(14); f == nil {
		t.Error("block in the last file not found")
	}
	if f := tableOf(0).find(0); f != nil {
		t.Error("found a block in an empty store")
	}
}
