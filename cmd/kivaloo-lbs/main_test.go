package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"kivaloo/cmd/internal/daemon/daemontest"
	"kivaloo/internal/must"
)

func TestMain(m *testing.M) { daemontest.Main(m, ".") }

// server is a running daemon, with its socket, pid file and storage in a directory of its own.
type server struct {
	*daemontest.Daemon
	place
	addr string
}

// place is a directory for one daemon. Its path is short, because the paths of sockets are limited.
type place string

func newPlace(t *testing.T) place {
	t.Helper()
	dir := daemontest.Place(t)
	must.Do(t, os.Mkdir(filepath.Join(dir, "d"), 0o700))
	return place(dir)
}

func (p place) path(name string) string { return filepath.Join(string(p), name) }
func (p place) socket() string          { return p.path("s") }

// args returns a command line of a daemon in this place, followed by options.
func (p place) args(blockSize int, options ...string) []string {
	return append([]string{"-s", p.socket(), "-d", p.path("d"), "-b", strconv.Itoa(blockSize)}, options...)
}

// run runs a start command that should not leave a daemon.
func (p place) run(t *testing.T, args ...string) daemontest.Result {
	t.Helper()
	return daemontest.Run(t, string(p), daemontest.Program("kivaloo-lbs"), args...)
}

// start starts a daemon.
func (p place) start(t *testing.T, blockSize int, options ...string) *server {
	t.Helper()
	d := daemontest.Start(t, string(p), "s.pid", daemontest.Program("kivaloo-lbs"), p.args(blockSize, options...)...)
	return &server{d, p, p.socket()}
}

// restart kills the daemon and starts another one on its files.
func (s *server) restart(t *testing.T, blockSize int, options ...string) *server {
	t.Helper()
	s.Kill()
	s.Wait(t)
	must.Do(t, os.Remove(s.socket()))
	return s.start(t, blockSize, options...)
}

// put makes a file in the storage directory.
func (p place) put(t *testing.T, name string, size int) {
	t.Helper()
	must.Do(t, os.WriteFile(p.path("d/"+name), bytes.Repeat([]byte{7}, size), 0o600))
}

// files returns the block files in the storage directory as "number:size", in order. The number is
// that of the first block.
func (p place) files(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir(p.path("d"))
	must.Do(t, err)
	var found []string
	for _, e := range entries {
		var first uint64
		if n, err := fmt.Sscanf(e.Name(), "blks_%16x", &first); n != 1 || err != nil || len(e.Name()) != len("blks_")+16 {
			continue
		}
		info, err := e.Info()
		if errors.Is(err, os.ErrNotExist) {
			continue // freed meanwhile
		}
		must.Do(t, err)
		found = append(found, fmt.Sprintf("%d:%d", first, info.Size()))
	}
	return found
}
