package tree

import (
	"bytes"
	"fmt"
	"maps"
	"testing"
)

// tears is what a power cut can make of a block that was not written yet.
var tears = map[string]func(p []byte){
	"zero": func(p []byte) { clear(p) },
	"garbage at the end": func(p []byte) {
		copy(p[len(p)-min(512, len(p)-70):], bytes.Repeat([]byte{0x5a}, 512))
	},
}

// TestTornShapes tears appends of every shape, one block of them and all. The append must have
// happened as a whole or not at all. The leftovers must not harm two more lives, which both make
// changes and end by a crash. The original must find the same as this program, or refuse the store.
func TestTornShapes(t *testing.T) {
	for _, size := range []int{512, 600} { // pages of one sector, and of more
		for name, journal := range map[string]int64{"journal": 16 << 10, "pages": 0} {
			t.Run(fmt.Sprint(size, " ", name), func(t *testing.T) {
				t.Parallel()
				tried, before := map[string]int{}, model{}
				killedStores(t, size, journal, func(s *memStore, first uint64, m model) {
					shape := shapeOf(s, first)
					if tried[shape]++; tried[shape]%100 == 2 {
						tearAppend(t, s.clone(), shape, first, journal, before, m)
					}
					before = maps.Clone(m)
				})
			})
		}
	}
}

func tearAppend(t *testing.T, whole *memStore, shape string, first uint64, journal int64, before, m model) {
	cfg := testConfig()
	cfg.JournalBytes, cfg.StorageCost = journal, 0
	try := func(what string, damage func(s *memStore)) {
		s := whole.clone()
		damage(s)
		want := model(contentOf(t, s))
		if !maps.Equal(want, before) && !maps.Equal(want, m) {
			t.Fatalf("append of%s, %s: %d pairs; want %d or %d", shape, what, len(want), len(before), len(m))
		}
		if s.blockSize == 512 { // a page of one sector
			if all, ends := originalFinds(t, s.all(), s.next()); !ends && !maps.Equal(all, before) && !maps.Equal(all, m) {
				t.Fatalf("append of%s, %s: the original finds %d pairs; want %d or %d", shape, what, len(all), len(before), len(m))
			}
		}
		for life := range 2 {
			h := newHarness(t, s, cfg)
			sameContent(t, h.dump(), want)
			changes := []Request{set("life", fmt.Sprint(life)), set(fmt.Sprintf("%06d", life), "changed")}
			want.applyAll(changes)
			h.do(changes...)
		}
		sameContent(t, contentOf(t, s), want)
		checkStore(t, s)
	}
	for name, damage := range tears {
		for block := first; block < whole.next(); block += 1 + (whole.next()-first)/4 {
			try(fmt.Sprintf("block %d: %s", block-first, name), func(s *memStore) { damage(s.page(block)) })
		}
		try("all: "+name, func(s *memStore) {
			for block := first; block < s.next(); block++ {
				damage(s.page(block))
			}
		})
	}
	for cut := first; cut < whole.next(); cut += 1 + (whole.next()-first)/4 {
		try(fmt.Sprintf("cut off at %d", cut-first), func(s *memStore) { s.blocks = s.blocks[:cut-s.first] })
	}
}
