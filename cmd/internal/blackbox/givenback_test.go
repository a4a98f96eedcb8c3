package blackbox

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	kv "kivaloo"
	"kivaloo/cmd/internal/blackbox/kvtest"
	"kivaloo/cmd/internal/daemon/daemontest"
	"kivaloo/internal/must"
	"kivaloo/wire"
)

const (
	// realDisk is the size of a real file system that is filled, in bytes. realPairs is how many
	// pairs are put on it; they take an eighth of it.
	realDisk  = 16 << 20
	realPairs = 9_000

	// bit is how much of a full disk is freed at a time, in bytes. After at most mostBits of these,
	// changes must succeed again. The reserve is smaller than that: a block for each change of a
	// memtable, which holds 128 KiB here, and the leaves of a block file.
	bit      = 256 << 10
	mostBits = 10

	// bitTime is how long to wait for changes after each bit: a refusing store tries again every
	// second.
	bitTime = 2500 * time.Millisecond
)

// mountRealDisk mounts a real file system at dir, or one in memory if that is not possible.
func mountRealDisk(t *testing.T, dir string, size int64) {
	t.Helper()
	must.Do(t, os.MkdirAll(dir, 0o700))
	image := filepath.Join(daemontest.Place(t), "image")
	f, err := os.Create(image)
	must.Do(t, err)
	must.Do(t, f.Truncate(size))
	must.Do(t, f.Close())
	for _, args := range [][]string{{"mkfs.ext4", "-q", "-F", "-b", "1024", image}, {"mount", "-o", "loop", image, dir}} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Logf("no real file system, but one in memory: %s: %v, %s", args[0], err, out)
			mountDisk(t, dir, int(size))
			return
		}
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmounting the small disk: %v", err)
		}
	})
	must.Do(t, os.RemoveAll(filepath.Join(dir, "lost+found")))
}

// filler is a file that uses up disk space.
type filler struct {
	path string
	size int64
}

// grow takes more space, or all that is left, and reports whether there was enough.
func (f *filler) grow(t *testing.T, bytes int64) bool {
	t.Helper()
	file, err := os.OpenFile(f.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	must.Do(t, err)
	defer file.Close()
	for chunk := make([]byte, 1<<10); bytes > 0; bytes -= int64(len(chunk)) {
		n, err := file.Write(chunk)
		if f.size += int64(n); err != nil {
			return false
		}
	}
	return file.Sync() == nil
}

// shrink frees some space.
func (f *filler) shrink(t *testing.T, bytes int64) {
	t.Helper()
	f.size = max(0, f.size-bytes)
	must.Do(t, os.Truncate(f.path, f.size))
}

// TestDiskGivenBack has another program fill the disk to the last byte and free the space bit by
// bit. Reads must go on, nothing may be acknowledged that is not durable, and changes must succeed
// again when the reserve fits, because no attempt to flush may use up the freed space. It is tried
// without a restart, with a kill after each bit, and with a stop after each.
func TestDiskGivenBack(t *testing.T) {
	t.Parallel()
	for name, restart := range map[string]func(t *testing.T, s *serve, rnd *rand.Rand){
		"in use": func(*testing.T, *serve, *rand.Rand) {},
		"kills": func(t *testing.T, s *serve, rnd *rand.Rand) {
			s.crash(t, rnd)
			s.start(t)
		},
		"stops": func(t *testing.T, s *serve, rnd *rand.Rand) {
			s.process.Signal(t, unix.SIGTERM)
			s.process.Wait(t)
			s.process = nil
			s.start(t)
		},
	} {
		for _, journal := range []string{"64M", "0"} {
			t.Run(fmt.Sprintf("%s, journal %s", name, journal), func(t *testing.T) {
				t.Parallel()
				rnd := daemontest.Seeded(t)
				s := newServe(t, "--journal", journal)
				mountRealDisk(t, s.dir(), realDisk)
				giveBack(t, s, rnd, restart)
			})
		}
	}
}

func giveBack(t *testing.T, s *serve, rnd *rand.Rand, restart func(*testing.T, *serve, *rand.Rand)) {
	t.Helper()
	fillStore(t, s.dir())
	s.start(t)
	fill := &filler{path: filepath.Join(s.dir(), "filler")}
	l := kvtest.NewLoad(rnd, "load")
	for overwriteSome(t, s.addr(), rnd, 1000) && fill.grow(t, 4*bit) {
	}
	for fill.grow(t, bit) {
	}
	overwriteSome(t, s.addr(), rnd, realPairs) // the store writes as much as it can
	for fill.grow(t, bit) {
	}
	must.Do(t, l.Run(t.Context(), s.addr())) // until a change is refused
	must.Do(t, l.Look(readAll(t, s.addr())))
	refuses(t, s.addr())

	bits := 0
	for made := false; !made; bits++ {
		if bits == mostBits {
			t.Fatalf("%d bytes were given back, and no change is made: %s", bits*bit, s.said(t))
		}
		fill.shrink(t, bit)
		restart(t, s, rnd)
		for end := time.Now().Add(bitTime); !made && time.Now().Before(end); <-time.After(50 * time.Millisecond) {
			made = changes(t, s.addr())
		}
		must.Do(t, l.Look(readAll(t, s.addr())))
	}
	t.Logf("changes are made again after %d KiB of %d", bits*bit>>10, mostBits*bit>>10)
	fill.shrink(t, fill.size)
	must.Eventually(t, "many changes are made", func() bool { return overwriteSome(t, s.addr(), rnd, 1000) })
	found := readAll(t, s.addr())
	must.Do(t, l.Check(found))
	if found["room"] != "again" {
		t.Error("a change that was acknowledged is not there")
	}
	s.stop(t)
	checkStore(t, s.dir())
}

// fillStore creates a store of realPairs pairs.
func fillStore(t *testing.T, dir string) {
	t.Helper()
	db, err := kv.Open(dir, kv.Options{NoSync: true})
	must.Do(t, err)
	b := new(kv.Batch)
	for i := range realPairs {
		b.Set(fmt.Appendf(nil, "%08d", i), make([]byte, liveValue))
		if b.Len() == 1000 {
			must.Do(t, db.Apply(t.Context(), b))
		}
	}
	must.Do(t, db.Close())
}

// overwriteSome changes n random pairs of fillStore, and reports whether all changes were made.
func overwriteSome(t *testing.T, addr string, rnd *rand.Rand, n int) bool {
	t.Helper()
	c, err := kvtest.Dial(t.Context(), addr)
	must.Do(t, err)
	defer c.Close()
	for range n / 100 {
		for range 100 {
			key, value := randomPair(rnd, realPairs)
			c.Queue(&wire.KVRequest{Type: wire.TypeSet, Key: key, Value: value})
		}
		if err = c.Flush(); err != nil {
			return false
		}
		for range 100 {
			if _, err = c.Next(); err != nil {
				return false
			}
		}
	}
	return true
}
