package blackbox

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"kivaloo/cmd/internal/blackbox/kvtest"
	"kivaloo/cmd/internal/daemon/daemontest"
	"kivaloo/internal/must"
	"kivaloo/wire/wiretest"
)

const (
	// smallDisk is the size of a disk that is soon full, in bytes. spareDisk is the part of it that
	// is in use at first.
	smallDisk = 2 << 20
	spareDisk = 1 << 20

	// smallFile is the longest file that can be written under a limit, in bytes.
	smallFile = 32 << 10
)

// mountDisk mounts a file system of this many bytes at dir.
func mountDisk(t *testing.T, dir string, size int) {
	t.Helper()
	must.Do(t, os.MkdirAll(dir, 0o700))
	if err := unix.Mount("none", dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0700", size)); err != nil {
		t.Skipf("cannot mount a small disk: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmounting the small disk: %v", err)
		}
	})
}

// mountSmallDisk mounts a file system at dir that is nearly full, and returns a function that frees
// the spare room.
func mountSmallDisk(t *testing.T, dir string) (makeRoom func()) {
	t.Helper()
	mountDisk(t, dir, smallDisk)
	filler := filepath.Join(dir, "filler")
	must.Do(t, os.WriteFile(filler, make([]byte, spareDisk), 0o600))
	return func() { must.Do(t, os.Remove(filler)) }
}

// hoard stores pairs that nobody changes again. Without cleaning no block after theirs is ever
// freed, so every change makes the store longer.
func hoard(t *testing.T, addr string) {
	t.Helper()
	c, err := kvtest.Dial(t.Context(), addr)
	must.Do(t, err)
	defer c.Close()
	for i := range 50 {
		must.Do(t, c.Set(fmt.Sprintf("a %02d", i), strings.Repeat("v", 90)))
	}
}

// runUntilRefused runs a load until the server closes the connection, while it keeps running.
func runUntilRefused(t *testing.T, s *serve, l *kvtest.Load) {
	t.Helper()
	must.Do(t, l.Run(t.Context(), s.addr()))
	if l.Acknowledged() == 0 {
		t.Log("nothing was acknowledged before: one batch was too much")
	}
	if !alive(s.process) {
		t.Fatalf("serve has ended: %s", s.said(t))
	}
	must.Do(t, l.Check(readAll(t, s.addr()))) // reads go on
}

// refuses checks that a change closes the connection, while another connection can still read.
func refuses(t *testing.T, addr string) {
	t.Helper()
	reader := connect(t, addr)
	if err := connect(t, addr).Set("refused", "yes"); !wiretest.Lost(err) {
		t.Errorf("a change while nothing can be made durable: %v", err)
	}
	if value, err := reader.Get("refused"); err != nil || value != nil {
		t.Errorf("a refused change: %q, %v", value, err)
	}
}

// TestServeDiskFull checks that on a full disk no change is acknowledged and reads go on. When
// there is room again, changes must be accepted without a restart. After a restart everything
// acknowledged must be there.
func TestServeDiskFull(t *testing.T) {
	t.Parallel()
	s := newServe(t, "--block-size", "512", "--storage-cost", "0", "--cache", "1M")
	makeRoom := mountSmallDisk(t, s.dir())
	s.start(t)
	hoard(t, s.addr())
	l := kvtest.NewLoad(daemontest.Seeded(t), "load")
	runUntilRefused(t, s, l)
	refuses(t, s.addr())
	file := filepath.Join(daemontest.Place(t), "backup")
	if r := kivaloo(t, "", "backup", s.addr(), file); r.status != 0 { // a backup needs no room
		t.Errorf("a backup while the disk is full: status %v, %q", r.status, r.stderr)
	}
	makeRoom()
	must.Eventually(t, "changes are made again", func() bool {
		c, err := kvtest.Dial(t.Context(), s.addr())
		must.Do(t, err)
		defer c.Close()
		err = c.Set("room", "again")
		if err != nil && !wiretest.Lost(err) {
			t.Fatal(err)
		}
		return err == nil
	})
	runUntilRefused(t, s, l) // until it is full again
	s.stopUnflushed(t)
	s.start(t)
	found := readAll(t, s.addr())
	must.Do(t, l.Check(found))
	if found["room"] != "again" {
		t.Error("a change that was acknowledged once there was room again is not there")
	}
}

// TestServeDiskFails checks that after a disk error no change is acknowledged until serve is
// restarted, even if the cause is gone, and that reads go on.
func TestServeDiskFails(t *testing.T) {
	t.Parallel()
	s := newServe(t, "--block-size", "512", "--storage-cost", "0", "--cache", "1M")
	s.start(t)
	hoard(t, s.addr())
	limit(t, s.process, smallFile)
	l := kvtest.NewLoad(daemontest.Seeded(t), "load")
	runUntilRefused(t, s, l)
	for _, want := range []string{"read-only from now on: remove the cause and restart", "file too large"} {
		if said := s.said(t); !strings.Contains(said, want) {
			t.Errorf("said %q, want %q", said, want)
		}
	}
	refuses(t, s.addr())
	limit(t, s.process, unix.RLIM_INFINITY)
	refuses(t, s.addr())
	s.stopUnflushed(t)
	s.start(t)
	must.Do(t, l.Check(readAll(t, s.addr())))
	must.Do(t, connect(t, s.addr()).Set("key", "value"))
}

// stopUnflushed stops a serve that may be unable to write its last flush. Its exit status must be 0
// if and only if there is no journal to replay.
func (s *serve) stopUnflushed(t *testing.T) {
	t.Helper()
	s.process.Signal(t, syscall.SIGTERM)
	status := s.process.Wait(t)
	s.process = nil
	report, want := checkStore(t, s.dir()), 0
	if strings.Contains(report, "journal") {
		want = 1
	}
	if said := s.said(t); !status.Exited() || status.ExitStatus() != want || strings.Contains(said, "the last flush failed") != (want == 1) {
		t.Fatalf("status %#x, want %d; check says %s", status, want, report)
	}
}

// limit bounds the length of the files that a process writes, in bytes.
func limit(t *testing.T, d *daemontest.Daemon, bytes uint64) {
	t.Helper()
	must.Do(t, unix.Prlimit(d.Pid, unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: bytes, Max: unix.RLIM_INFINITY}, nil))
}

// TestDaemonsDiskFull checks that the daemons end when the disk is full or fails, as the original's
// do, and that everything acknowledged is there after a restart.
func TestDaemonsDiskFull(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(t *testing.T, d *daemons) (undo func()){
		"full": func(t *testing.T, d *daemons) (undo func()) {
			undo = mountSmallDisk(t, d.dir())
			d.start(t)
			return undo
		},
		"fails": func(t *testing.T, d *daemons) (undo func()) {
			d.start(t)
			limit(t, d.lbs, smallFile)
			return func() {} // the limit ends with the process
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDaemons(t, 512, "-C", "1024", "-S", "0")
			undo := spoil(t, d)
			hoard(t, d.addr())
			l := kvtest.NewLoad(daemontest.Seeded(t), "load")
			must.Do(t, l.Run(t.Context(), d.addr()))
			for _, one := range []*daemontest.Daemon{d.kvlds, d.lbs} {
				if status := one.Wait(t); !status.Exited() || status.ExitStatus() != 1 {
					t.Errorf("a daemon has ended with status %#x", status)
				}
			}
			d.kvlds, d.lbs = nil, nil
			if l.Acknowledged() == 0 {
				t.Log("nothing was acknowledged before: one batch was too much")
			}
			undo()
			checkStore(t, d.dir())
			d.start(t)
			must.Do(t, l.Check(readAll(t, d.addr())))
			must.Do(t, connect(t, d.addr()).Set("key", "value"))
		})
	}
}
