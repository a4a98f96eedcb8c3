package tree

import (
	"fmt"
	"kivaloo/disk/simfs"
	"math/rand/v2"
	"os"
	"testing"
)

func TestDbgCut(t *testing.T) {
	var seed uint64
	fmt.Sscan(os.Getenv("SEED"), &seed)
	rng := rand.New(rand.NewPCG(seed, 3))
	c := crashRun{
		t: t, rng: rng,
		blockSize: []int{512, 700, 2048}[rng.IntN(3)],
		fsys:      simfs.New(storeDir),
		states:    []model{{}},
	}
	c.cfg = testConfig()
	c.cfg.AdoptBlank = true
	c.cfg.StorageCost = []float64{0, 1, 1e9}[rng.IntN(3)]
	c.cfg.MaxSpread = []float64{0, 1.5}[rng.IntN(2)]
	c.cfg.JournalBytes = []int64{0, 4 << 10, 32 << 10}[rng.IntN(3)]
	fmt.Println("cfg", c.blockSize, c.cfg.JournalBytes, c.cfg.StorageCost, c.cfg.MaxSpread)
	for i := range 5 {
		fmt.Println("life", i, c.fsys.Names())
		for _, n := range c.fsys.Names() {
			b := c.fsys.Content(n)
			for o := 0; o+c.blockSize <= len(b) && o < c.blockSize*4; o += c.blockSize {
				fmt.Printf("  %s+%d %q\n", n, o/c.blockSize, b[o:o+80])
			}
		}
		c.life()
	}
}
func TestDbgChaos(t *testing.T) {
	var seed uint64
	fmt.Sscan(os.Getenv("SEED"), &seed)
	c := newChaos(t, seed)
	for range 700 {
		c.step()
	}
	c.end()
}
