package blackbox

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	kv "kivaloo"
	"kivaloo/cmd/internal/blackbox/kvtest"
	"kivaloo/cmd/internal/daemon/daemontest"
	"kivaloo/internal/must"
	"kivaloo/wire"
)

const (
	// backupPairs is how many pairs a store needs so that a backup takes three requests of 1 MiB
	// each.
	backupPairs = 24_000

	// stallAfter is within the answer to the second request, in bytes. The third, which ends the
	// snapshot, is then not made.
	stallAfter = 5 << 18
)

func backupKey(i int) string { return fmt.Sprintf("%0100d", i) }

// setAll sets the first n keys to value, in order, on one connection, as fast as possible.
func setAll(t *testing.T, c *kvtest.Conn, n int, value string) {
	t.Helper()
	const atOnce = 1000
	for first := 0; first < n; first += atOnce {
		for i := first; i < min(first+atOnce, n); i++ {
			c.Queue(&wire.KVRequest{Type: wire.TypeSet, Key: []byte(backupKey(i)), Value: []byte(value)})
		}
		must.Do(t, c.Flush())
		for i := first; i < min(first+atOnce, n); i++ {
			if _, err := c.Next(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// succeeds runs a command that must succeed, and returns its stderr.
func succeeds(t *testing.T, args ...string) string {
	t.Helper()
	r := kivaloo(t, "", args...)
	if r.status != 0 {
		t.Fatalf("%q: status %#x, said %q", args, r.status, r.stderr)
	}
	return r.stderr
}

// restore restores a backup, checks the store, and returns its pairs.
func restore(t *testing.T, backup string) []kv.Pair {
	t.Helper()
	dir := filepath.Join(daemontest.Place(t), "restored")
	said := succeeds(t, "restore", backup, dir)
	checkStore(t, dir)
	db, err := kv.Open(dir, kv.Options{ReadOnly: true})
	must.Do(t, err)
	defer db.Close()
	var all []kv.Pair
	for p, err := range db.Range(t.Context(), nil, nil) {
		must.Do(t, err)
		all = append(all, p.Clone())
	}
	if !strings.Contains(said, fmt.Sprintf("restored %d pairs", len(all))) {
		t.Errorf("%d pairs are there, and it said %q", len(all), said)
	}
	return all
}

// TestBackupAndRestore checks that everything is restored, and that the dump of the new store is
// the same.
func TestBackupAndRestore(t *testing.T) {
	t.Parallel()
	onBoth(t, 2048, func(t *testing.T, s system) {
		s.start(t)
		c := connect(t, s.addr())
		setAll(t, c, backupPairs, "value")
		must.Do(t, c.Set("", ""))
		must.Do(t, c.Set(strings.Repeat("\xff", 255), strings.Repeat("v", 255)))
		c.Close() // kivaloo-kvlds serves one connection at a time
		place := daemontest.Place(t)
		file, dir := filepath.Join(place, "backup"), filepath.Join(place, "d")
		said := succeeds(t, "backup", s.addr(), file)
		if !strings.Contains(said, fmt.Sprintf("backed up %d pairs", backupPairs+2)) {
			t.Errorf("said %q", said)
		}
		info, err := os.Stat(file)
		must.Do(t, err)
		if info.Mode().Perm() != 0o600 {
			t.Errorf("the backup has mode %v", info.Mode())
		}
		stream := kivaloo(t, "", "backup", s.addr(), "-")
		// Nothing has changed, so the snapshot has the same name, and everything else is the same
		// too.
		if content, err := os.ReadFile(file); err != nil || stream.status != 0 || stream.out != string(content) {
			t.Errorf("%d bytes in the file, %d in the stream, %v", len(content), len(stream.out), err)
		}
		succeeds(t, "restore", file, dir)
		checkStore(t, dir)
		other := &serve{place: place}
		other.start(t)
		before, after := kivaloo(t, "", "dump", "--addr", s.addr()), kivaloo(t, "", "dump", "--addr", other.addr())
		if before.out == "" || before.out != after.out {
			t.Errorf("a dump of %d bytes became one of %d", len(before.out), len(after.out))
		}
		if r := kivaloo(t, "", "restore", file, dir); r.status.ExitStatus() != 1 || !strings.Contains(r.stderr, "is not empty") {
			t.Errorf("restored to a store: status %#x, %q", r.status, r.stderr)
		}
	})
}

// TestBackupUnderLoad sets key after key to 1, then to 2, and so on. In a backup, an earlier key
// must never be behind a later one.
func TestBackupUnderLoad(t *testing.T) {
	t.Parallel()
	s := newServe(t, "--cache", "4M", "--no-sync")
	s.start(t)
	c := connect(t, s.addr())
	setAll(t, c, backupPairs, "0")
	ctx, cancel := context.WithCancel(t.Context())
	var writer sync.WaitGroup
	rounds := 0
	writer.Go(func() {
		for ctx.Err() == nil {
			rounds++
			setAll(t, c, backupPairs, strconv.Itoa(rounds))
		}
	})
	defer writer.Wait()
	defer cancel()
	file := filepath.Join(s.place, "backup")
	between := 0 // backups during a round
	for n := 0; n < 2 || between == 0 && n < 10; n++ {
		succeeds(t, "backup", s.addr(), file)
		pairs := restore(t, file)
		if len(pairs) != backupPairs {
			t.Fatalf("%d pairs", len(pairs))
		}
		first, _ := strconv.Atoi(string(pairs[0].Value))
		last := first
		for i, p := range pairs {
			n, err := strconv.Atoi(string(p.Value))
			if err != nil || string(p.Key) != backupKey(i) || n > last || n < first-1 {
				t.Fatalf("%q is %q, behind one that is %d and a first that is %d", p.Key, p.Value, last, first)
			}
			last = n
		}
		if last != first {
			between++
		}
	}
	cancel()
	writer.Wait()
	if between == 0 {
		t.Errorf("in %d rounds no backup shows one under way, which is not by chance", rounds)
	}
}

// stalling is a proxy that stops in the middle of an answer.
func stalling(t *testing.T, addr string) string {
	t.Helper()
	path := filepath.Join(daemontest.Place(t), "stalling")
	ln, err := net.Listen("unix", path)
	must.Do(t, err)
	var group sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	group.Go(func() {
		for {
			client, err := ln.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("unix", addr)
			if err != nil {
				client.Close()
				continue
			}
			mu.Lock()
			open = append(open, client, server)
			mu.Unlock()
			group.Go(func() {
				_, _ = io.Copy(server, client) // until the client is gone
				server.Close()
			})
			group.Go(func() { _, _ = io.CopyN(client, server, stallAfter) })
		}
	})
	t.Cleanup(func() {
		ln.Close()
		mu.Lock()
		for _, nc := range open {
			nc.Close()
		}
		mu.Unlock()
		group.Wait()
	})
	return path
}

// interrupted begins a backup to file and ends it by a signal when it has reached its second piece.
func interrupted(t *testing.T, addr, file string, sig syscall.Signal) (said string) {
	t.Helper()
	cmd := exec.Command(daemontest.Program("kivaloo"), "backup", stalling(t, addr), file)
	process, stderr := daemontest.Foreground(t, cmd)
	must.Eventually(t, "a piece has been written", func() bool {
		info, err := os.Stat(file + ".partial")
		return err == nil && info.Size() > 1<<19
	})
	process.Signal(t, sig)
	status := process.Wait(t)
	if sig == syscall.SIGINT && (!status.Exited() || status.ExitStatus() != 1) {
		t.Errorf("status %#x", status)
	}
	text, err := os.ReadFile(stderr)
	must.Do(t, err)
	return string(text)
}

// TestBackupGoesOn checks that an interrupted backup continues, and shows the moment at which it
// began.
func TestBackupGoesOn(t *testing.T) {
	t.Parallel()
	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGINT} {
		t.Run(sig.String(), func(t *testing.T) {
			t.Parallel()
			s := newServe(t, "--no-sync")
			s.start(t)
			c := connect(t, s.addr())
			setAll(t, c, backupPairs, "then")
			file := filepath.Join(s.place, "backup")
			said := interrupted(t, s.addr(), file, sig)
			if sig == syscall.SIGINT && !strings.Contains(said, "run the same command within a minute to go on") {
				t.Errorf("said %q", said)
			}
			setAll(t, c, backupPairs+10, "later")
			said = succeeds(t, "backup", s.addr(), file)
			if !strings.Contains(said, "going on with") || strings.Contains(said, "starting again") {
				t.Errorf("said %q", said)
			}
			for _, p := range restore(t, file) {
				if string(p.Value) != "then" {
					t.Fatalf("%q is %q", p.Key, p.Value)
				}
			}
			if _, err := os.Stat(file + ".partial"); !os.IsNotExist(err) {
				t.Errorf("a partial file is left: %v", err)
			}
		})
	}
}

// TestBackupAcrossRestart restarts the server during a backup. If the root of the store has
// changed, the snapshot is lost and the backup starts again.
func TestBackupAcrossRestart(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		changes int // after the snapshot
		options []string
		want    string // part of its stderr
		value   string
	}{
		{"unchanged", 0, nil, "going on with", "then"},
		{"changed", 1000, nil, "starting again", "later"},
		{"not wanted", 0, []string{"--no-resume"}, "backed up", "then"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := newServe(t, "--no-sync", "--journal", "0") // each batch makes a root
			s.start(t)
			setAll(t, connect(t, s.addr()), backupPairs, "then")
			file := filepath.Join(s.place, "backup")
			interrupted(t, s.addr(), file, syscall.SIGKILL)
			setAll(t, connect(t, s.addr()), tc.changes, "later")
			s.crash(t, nil)
			s.start(t)
			said := succeeds(t, append([]string{"backup", s.addr(), file}, tc.options...)...)
			if !strings.Contains(said, tc.want) || strings.Contains(said, "starting again") != (tc.changes > 0) ||
				strings.Contains(said, "going on") == (len(tc.options) > 0) {
				t.Errorf("said %q", said)
			}
			pairs := restore(t, file)
			if len(pairs) != backupPairs || string(pairs[0].Value) != tc.value || string(pairs[backupPairs-1].Value) != "then" {
				t.Errorf("%d pairs, from %s to %s", len(pairs), pairs[0].Value, pairs[len(pairs)-1].Value)
			}
		})
	}
}

// TestBackupOfDirectory backs up a store from its directory, through its server if it is running.
func TestBackupOfDirectory(t *testing.T) {
	t.Parallel()
	s := newServe(t, "--no-sync")
	s.start(t)
	setAll(t, connect(t, s.addr()), backupPairs, "value")
	file := filepath.Join(s.place, "backup")
	succeeds(t, "backup", s.dir(), file)
	s.stop(t)
	before := treeHash(t, s.dir())
	succeeds(t, "backup", s.dir(), file)
	if treeHash(t, s.dir()) != before {
		t.Error("the store has been changed")
	}
	if pairs := restore(t, file); len(pairs) != backupPairs {
		t.Errorf("%d pairs", len(pairs))
	}
	must.Do(t, os.Truncate(file, 1<<20+5000))
	dir := filepath.Join(s.place, "new")
	kivaloo(t, "", "restore", file, dir).want(t, 1, "", "it is incomplete")
	if left, _ := filepath.Glob(dir + "*"); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}
