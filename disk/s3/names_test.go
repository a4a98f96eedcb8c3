package s3

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"kivaloo/internal/must"
)

// The names and the order of deletion are the original's, as observed.
func TestNames(t *testing.T) {
	for n, want := range map[uint64]string{1: "fa5a_0000000000000001", 2: "e675_0000000000000002", 3: "596b_0000000000000003", 4: "59cf_0000000000000004", 5: "aaa0_0000000000000005"} {
		if got := objectKey(n); got != want {
			t.Errorf("object %d is called %s, want %s", n, got, want)
		}
	}
	for _, n := range []uint64{1, 2, 77, maxObject} {
		if got, index := objectOf(firstBlock(n) + 5); got != n || index != 5 {
			t.Errorf("block 5 of object %d is block %d of object %d", n, index, got)
		}
	}
	var order []string
	for m := uint64(1); m < 36; m++ {
		if emptied(m) {
			order = append(order, fmt.Sprintf("(%d)", m))
		}
		for _, n := range passed(m) {
			order = append(order, fmt.Sprint(n))
		}
	}
	const want = "(1) (2) 3 (4) 5 7 6 (8) 9 11 10 13 15 14 12 (16) 17 19 18 21 23 22 20 25 27 26 29 31 30 28 24 (32) 33 35 34"
	if got := strings.Join(order, " "); got != want {
		t.Errorf("deleted, or (emptied):\n%s, want\n%s", got, want)
	}
}

// The last object is found at any moment of a deletion, whatever has been deleted of what may be,
// and whatever else was put before the last one.
func TestFindLast(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newMemory()
		last := rapid.Uint64Range(0, 3000).Draw(t, "last")
		for n := uint64(1); n <= last; n++ {
			m.objects[objectKey(n)] = memoryObject{content: []byte("x")}
		}
		if last > 0 {
			goal := rapid.Uint64Range(0, last).Draw(t, "goal")
			var gone []uint64
			for n := uint64(1); n < goal; n++ {
				gone = append(gone, passed(n)...)
			}
			kept := rapid.SliceOfDistinct(rapid.SampledFrom(append(gone, 0)), rapid.ID).Draw(t, "not deleted yet, or put again")
			for _, n := range gone {
				if !slices.Contains(kept, n) {
					delete(m.objects, objectKey(n))
				}
			}
			for range rapid.IntRange(0, 40).Draw(t, "appends after that") {
				last++
				m.objects[objectKey(last)] = memoryObject{content: []byte("x")}
			}
		}
		got, err := findLast(context.Background(), &retrier{m, quiet})
		must.Do(t, err)
		if got != last {
			t.Fatalf("the last object is %d; found %d", last, got)
		}
	})
}
