package blackbox

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	kv "kivaloo"
	"kivaloo/cmd/internal/daemon/daemontest"
	"kivaloo/internal/must"
	"kivaloo/wire"
)

// liveValue is the length of a value in these tests, in bytes, and livePair that of a pair.
const (
	liveValue = 200
	livePair  = 8 + liveValue
)

// randomPair returns a pair of a store of n pairs, with a value that is usually new.
func randomPair(rnd *rand.Rand, n int) (key, value []byte) {
	value = make([]byte, liveValue)
	value[0] = byte(rnd.Uint32())
	return fmt.Appendf(nil, "%08d", rnd.IntN(n)), value
}

// TestFullDiskAndRestarts checks that a store can be changed for ever on a disk four times as large
// as its content. If the disk is full nevertheless, every restart must help: a stop or a start must
// free more than it writes.
func TestFullDiskAndRestarts(t *testing.T) {
	t.Parallel()
	const pairs = 20_000
	rnd := daemontest.Seeded(t)
	dir := filepath.Join(daemontest.Place(t), "d")
	mountDisk(t, dir, 4*pairs*livePair)
	for start := range 4 {
		db, err := kv.Open(dir, kv.Options{})
		must.Do(t, err)
		accepted, full := 0, time.Time{}
		for accepted < 100 && (full.IsZero() || time.Since(full) < 5*time.Second) {
			b := new(kv.Batch)
			for range 1000 {
				b.Set(randomPair(rnd, pairs))
			}
			if err = db.Apply(t.Context(), b); err == nil {
				accepted++
				full = time.Time{}
				continue
			}
			if full.IsZero() {
				full = time.Now()
			}
			<-time.After(50 * time.Millisecond) // it tries again once a second
		}
		if accepted == 0 {
			t.Errorf("start %d: no change is accepted, with %d bytes on the disk for %d: %v", start, diskUse(t, dir), pairs*livePair, err)
		}
		if err := db.Close(); err != nil {
			t.Errorf("start %d: %v", start, err)
		}
	}
	checkStore(t, dir)
}

// TestSmallerCacheAfterKill opens a killed store with a smaller cache, and then with the old one.
// Before it is ready it must take little more disk space than when it was killed. Here there is no
// more.
func TestSmallerCacheAfterKill(t *testing.T) {
	t.Parallel()
	const pairs, changes = 200_000, 90_000 // each is in the journal, and most are in different leaves
	const cache, smaller = "128M", "3M"
	rnd := daemontest.Seeded(t)
	s := newServe(t, "--cache", cache)
	mountDisk(t, s.dir(), 4*pairs*livePair)
	db, err := kv.Open(s.dir(), kv.Options{NoSync: true})
	must.Do(t, err)
	b := new(kv.Batch)
	for i := range pairs {
		if b.Set(fmt.Appendf(nil, "%08d", i), make([]byte, liveValue)); b.Len() == 10_000 {
			must.Do(t, db.Apply(t.Context(), b))
		}
	}
	must.Do(t, db.Close())

	s.start(t)
	c := connect(t, s.addr())
	for range changes / 1000 {
		for range 1000 {
			key, value := randomPair(rnd, pairs)
			c.Queue(&wire.KVRequest{Type: wire.TypeSet, Key: key, Value: value})
		}
		must.Do(t, c.Flush())
		for range 1000 {
			_, err := c.Next()
			must.Do(t, err)
		}
	}
	s.crash(t, nil)
	before := diskUse(t, s.dir())
	must.Do(t, unix.Mount("none", s.dir(), "", unix.MS_REMOUNT, fmt.Sprintf("size=%d", before*5/4)))
	for _, size := range []string{smaller, cache} {
		s.options = []string{"--cache", size}
		s.start(t) // fails the test if serve ends
		if after := diskUse(t, s.dir()); after > before*5/4 {
			t.Errorf("the store took %d bytes when it was killed, and %d with a cache of %s when it was ready", before, after, size)
		}
		s.crash(t, nil)
		checkStore(t, s.dir())
	}
}
