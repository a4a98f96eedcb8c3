package blackbox

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	kv "kivaloo"
	"kivaloo/cmd/internal/blackbox/history"
	"kivaloo/cmd/internal/daemon/daemontest"
	"kivaloo/tree"
)

// historyBlockSizes has the smallest and the largest, the default, and some that are no powers of
// two or next to one.
var historyBlockSizes = []int{512, 1000, 1023, 1025, 2048, 4096, 131072}

// soakOperations is how many operations all histories of a soak make together.
const soakOperations = 10_000_000

// TestOneHistory runs random histories on each form of a store, with and without a journal. In the
// ordinary run each form has one block size; in a soak each has all.
func TestOneHistory(t *testing.T) {
	forms := map[string]func(t *testing.T, o historyOptions) history.Engine{
		"embedded":  newEmbedded,
		"serve":     newServed,
		"serve, S3": newServedS3,
		"daemons":   newBehindDaemons,
	}
	soak := os.Getenv("KIVALOO_SOAK") != ""
	operations := 15_000
	switch {
	case soak:
		operations = soakOperations / len(forms) / len(historyBlockSizes) / 2
	case daemontest.Race:
		operations = 3_000
	}
	for name, engine := range forms {
		for _, journal := range []int{0, 1 << 16} {
			t.Run(fmt.Sprintf("%s/journal=%d", name, journal), func(t *testing.T) {
				t.Parallel()
				rng := daemontest.Seeded(t)
				sizes := historyBlockSizes
				if !soak {
					sizes = sizes[rng.IntN(len(sizes)):][:1]
				}
				for _, size := range sizes {
					o := randomHistory(rng, size, journal)
					s := history.Settings{
						Workers: 16 << rng.IntN(3), Keys: 500 + rng.IntN(10_000), Operations: operations,
						MaxKey: o.maxKey, MaxValue: o.maxValue, Scratch: t.TempDir(),
					}
					if err := history.Run(t.Context(), rng, engine(t, o), s); err != nil {
						t.Fatalf("%+v, %+v: %v", o, s, err)
					}
				}
			})
		}
	}
}

// historyOptions are the options of a store that all its forms have.
type historyOptions struct {
	blockSize, journal, maxKey, maxValue int
	storageCost                          int
}

func randomHistory(rng *rand.Rand, blockSize, journal int) historyOptions {
	key, value := tree.DefaultMaxLengths(blockSize)
	return historyOptions{blockSize, journal, 8 + rng.IntN(key-7), 8 + rng.IntN(value-7), []int{0, 10_000, 1e9}[rng.IntN(3)]}
}

// cacheBytes is the smallest cache.
func (o historyOptions) cacheBytes() int { return tree.MinCachePages * o.blockSize }

// embedded is a store in this process.
type embedded struct {
	dir     string
	options kv.Options
	db      *kv.DB
}

func newEmbedded(t *testing.T, o historyOptions) history.Engine {
	return &embedded{dir: filepath.Join(t.TempDir(), "d"), options: kv.Options{
		BlockSize: o.blockSize, CacheBytes: o.cacheBytes(), JournalBytes: int64(max(-1, o.journal-1)), MaxKey: o.maxKey, MaxValue: o.maxValue,
		StorageCost: float64(max(-1, o.storageCost-1)), NoSync: true,
	}}
}

func (e *embedded) Open() (_ []kv.Store, err error) {
	e.db, err = kv.Open(e.dir, e.options)
	return []kv.Store{e.db}, err
}

func (e *embedded) Close(bool) error { return e.db.Close() }

// remote is a system that clients connect to.
type remote struct {
	t       *testing.T
	system  system
	clients []kv.Store
	number  int // of clients
}

func newServed(t *testing.T, o historyOptions) history.Engine {
	return &remote{t: t, system: newServe(t, append(o.serve(), "--no-sync")...), number: 3}
}

// serve returns the options of kivaloo serve.
func (o historyOptions) serve() []string {
	return []string{"--block-size", strconv.Itoa(o.blockSize), "--cache", strconv.Itoa(o.cacheBytes()), "--journal", strconv.Itoa(o.journal),
		"--max-key", strconv.Itoa(o.maxKey), "--max-value", strconv.Itoa(o.maxValue), "--storage-cost", strconv.Itoa(o.storageCost)}
}

func newBehindDaemons(t *testing.T, o historyOptions) history.Engine {
	d := newDaemons(t, o.blockSize, "-C", strconv.Itoa(tree.MinCachePages), "--journal", strconv.Itoa(o.journal),
		"-k", strconv.Itoa(o.maxKey), "-v", strconv.Itoa(o.maxValue), "-S", strconv.Itoa(o.storageCost), "-n", "3")
	return &remote{t: t, system: d, number: 3}
}

func (r *remote) Open() ([]kv.Store, error) {
	r.system.start(r.t)
	r.clients = nil
	for range r.number {
		c, err := kv.Dial(r.t.Context(), r.system.addr(), kv.DialOptions{})
		if err != nil {
			return nil, err
		}
		r.clients = append(r.clients, c)
	}
	return r.clients, nil
}

func (r *remote) Close(kill bool) error {
	if kill {
		r.system.crash(r.t, rand.New(rand.NewPCG(0, 0)))
	}
	for _, c := range r.clients {
		if err := c.Close(); err != nil {
			return err
		}
	}
	if !kill {
		r.system.stop(r.t)
	}
	return nil
}
