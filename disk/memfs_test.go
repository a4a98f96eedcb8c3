package disk_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"slices"
	"testing"

	"kivaloo/disk"
	"kivaloo/internal/must"

	"pgregory.net/rapid"
)

// TestMemFSFile checks that a file in memory behaves like a slice of bytes when it is written,
// truncated and read.
func TestMemFSFile(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d, err := (&disk.MemFS{}).OpenDir("anywhere")
		must.Do(t, err)
		f, err := d.Create("f")
		must.Do(t, err)
		var want []byte
		offsets := rapid.Int64Range(0, 200_000)
		for i := range rapid.IntRange(1, 10).Draw(t, "steps") {
			offset := offsets.Draw(t, "offset")
			switch rapid.IntRange(0, 2).Draw(t, "what") {
			case 0:
				first, second := bytes.Repeat([]byte{byte(i + 1)}, rapid.IntRange(0, 100_000).Draw(t, "first")), []byte("second")
				n, err := f.WriteAt([][]byte{first, second}, offset)
				must.Do(t, err)
				both := append(first, second...)
				if n != int64(len(both)) {
					t.Fatalf("%d bytes of %d", n, len(both))
				}
				if grow := int(offset) + len(both) - len(want); grow > 0 {
					want = append(want, make([]byte, grow)...)
				}
				copy(want[offset:], both)
			case 1:
				must.Do(t, f.Truncate(offset))
				if int(offset) > len(want) {
					want = append(want, make([]byte, int(offset)-len(want))...)
				}
				want = want[:offset:offset]
			case 2:
				got := make([]byte, 70_000)
				n, err := f.ReadAt(got, offset)
				rest := want[min(int(offset), len(want)):]
				if wantN := min(len(got), len(rest)); n != wantN || !bytes.Equal(got[:n], rest[:n]) || (err == io.EOF) != (n < len(got)) {
					t.Fatalf("read %d at %d: %v", n, offset, err)
				}
			}
		}
		stat, err := d.Lstat("f")
		must.Do(t, err)
		if stat.Size != int64(len(want)) {
			t.Fatalf("%d bytes, want %d", stat.Size, len(want))
		}
	})
}

// TestMemFSDir checks names and the lock.
func TestMemFSDir(t *testing.T) {
	m := &disk.MemFS{}
	d, err := m.OpenDir("a")
	must.Do(t, err)
	must.Do(t, d.Lock(true))
	other, err := m.OpenDir("b")
	must.Do(t, err)
	if err := other.Lock(true); !errors.Is(err, disk.ErrLocked) {
		t.Errorf("a second lock: %v", err)
	}
	_, err = d.Create("one")
	must.Do(t, err)
	if _, err := d.Create("one"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second file of that name: %v", err)
	}
	must.Do(t, d.Rename("one", "two"))
	for _, missing := range []error{d.Rename("one", "two"), d.Remove("one"), func() error { _, err := d.Open("one", true); return err }(), func() error { _, err := d.Lstat("one"); return err }()} {
		if !errors.Is(missing, fs.ErrNotExist) {
			t.Error(missing)
		}
	}
	if names, err := other.ReadDir(); err != nil || !slices.Equal(names, []string{"two"}) {
		t.Errorf("%q, %v", names, err)
	}
	must.Do(t, d.Remove("two"))
	must.Do(t, d.Close())
	must.Do(t, other.Lock(true))
}
