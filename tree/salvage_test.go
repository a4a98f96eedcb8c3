package tree

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"kivaloo/disk"
	"kivaloo/internal/must"
	"kivaloo/tree/page"
)

// salvagedPairs is a SalvageTo.
type salvagedPairs map[string]string

func (s salvagedPairs) Set(key, value []byte) error {
	s[string(key)] = string(value)
	return nil
}

func (s salvagedPairs) Delete(key []byte) error {
	delete(s, string(key))
	return nil
}

// TestSalvageInPasses checks that a salvage with little memory, which reads the store several
// times, finds as much as one that reads it once.
func TestSalvageInPasses(t *testing.T) {
	store := newMemStore(1024)
	h := newHarness(t, store, testConfig())
	for round := range 5 {
		for first := 0; first < 4000; first += 200 {
			h.do(sets(first, 200-30*round, fmt.Sprintf("value %d", round))...)
		}
	}
	for _, roots := range []int{1, 1000} { // without the last root, and without any
		for at := len(store.blocks) - 1; at >= 0 && roots > 0; at-- {
			if l, err := page.Parse(store.blocks[at]); err == nil && l.Root {
				clear(store.blocks[at])
				roots--
			}
		}
		dir := t.TempDir()
		var content []byte
		for _, p := range store.blocks {
			content = append(content, p...)
		}
		must.Do(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("blks_%016x", store.first)), content, 0o600))
		var once salvagedPairs
		var want *Salvaged
		for _, budget := range []int{salvageBytes, 8 << 10, 2 << 10} {
			remains, err := disk.OpenRemains(dir, disk.Options{BlockSize: 1024, Log: quiet})
			must.Do(t, err)
			pairs := salvagedPairs{}
			report, err := salvage(t.Context(), remains, pairs, nil, budget)
			must.Do(t, err)
			must.Do(t, remains.Close())
			if once == nil {
				once, want = pairs, report
			}
			if !maps.Equal(pairs, once) || !reflect.DeepEqual(report.Ranges, want.Ranges) {
				t.Errorf("in %d bytes: %d pairs in %v; at once %d in %v", budget, len(pairs), report.Ranges, len(once), want.Ranges)
			}
		}
	}
}

// TestSalvageSeparator flips bits of separators in stores of the original, which have no checksums.
// The leaves on both sides show the right bounds, so no pair may be missing.
func TestSalvageSeparator(t *testing.T) {
	for _, one := range []string{"s512-seq", "s1024-gens"} {
		i := image{what: one, blockSize: 512, files: map[string]string{}}
		if one == "s1024-gens" {
			i.blockSize = 1024
		}
		for file, content := range goldenFiles(t, one) {
			i.files[file] = string(content)
		}
		whole, _ := i.salvage(t, i.damage(nil, true))
		rng := rand.New(rand.NewPCG(8, 0))
		flips := 0
		for _, name := range slices.Sorted(maps.Keys(i.files)) {
			content := i.files[name]
			for at := 0; at+i.blockSize <= len(content); at += i.blockSize {
				p := []byte(content[at : at+i.blockSize])
				l, err := page.Parse(p)
				if err != nil || l.Height == 0 {
					continue
				}
				for n, sep := 0, l.Body; n < l.Keys; n++ {
					length := int(p[sep])
					bit := rng.IntN(8 * length)
					sep += 1 + length
					if rng.IntN(4) > 0 && torture(1, 0) == 1 {
						continue
					}
					fsys := i.damage(nil, true)
					altered := []byte(content)
					altered[at+sep-length+bit/8] ^= 1 << (bit % 8)
					fsys.Put(name, altered)
					got, report := i.salvage(t, fsys)
					for key, value := range whole {
						if got[key] != value {
							t.Fatalf("%s: %s, offset %d, height %d, separator %d, bit %d: %s is %q, not %q; %v\n%v",
								one, name, at, l.Height, n, bit, key, got[key], value, report.Why, report.Ranges)
						}
					}
					flips++
				}
			}
		}
		if flips < 100 {
			t.Errorf("%s: %d separators", one, flips)
		}
	}
}
