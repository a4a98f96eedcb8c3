package eventloop_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kivaloo/eventloop"
	"kivaloo/internal/must"
	"kivaloo/wire"
)

func TestListenLeavesFilesAlone(t *testing.T) {
	dir := socketDir(t)
	stale := filepath.Join(dir, "stale")
	makeStale(t, stale)
	file := filepath.Join(dir, "file")
	must.Do(t, os.WriteFile(file, []byte("data"), 0o600))
	for _, path := range []string{stale, file, dir, filepath.Join(dir, "none", "s")} {
		_, err := eventloop.Listen(wire.Addr{Name: path, Network: "unix", Address: path}, 1)
		if err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("Listen on %s: %v", path, err)
		}
	}
	for _, path := range []string{stale, file, dir} {
		if _, err := os.Lstat(path); err != nil {
			t.Error(err)
		}
	}
}

// makeStale leaves a socket's file without a listener.
func makeStale(t *testing.T, path string) {
	t.Helper()
	ln, err := eventloop.Listen(wire.Addr{Name: path, Network: "unix", Address: path}, 1)
	must.Do(t, err)
	ln.Close()
	ln.Close()
	if _, err := os.Lstat(path); err != nil {
		t.Fatalf("Close removed the socket's file: %v", err)
	}
}

func TestListenTakingOver(t *testing.T) {
	dir := socketDir(t)
	path := filepath.Join(dir, "s")
	addr := wire.Addr{Name: path, Network: "unix", Address: path}
	take := func() (*eventloop.Listener, error) { return eventloop.ListenTakingOver(addr, 1) }

	makeStale(t, path)
	ln, err := take()
	if err != nil {
		t.Fatalf("taking over a stale socket: %v", err)
	}
	if _, err := take(); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Fatalf("taking over a live socket: %v", err)
	}
	// A full backlog means a living listener too.
	for {
		nc, err := net.Dial("unix", path)
		if err != nil {
			break
		}
		defer nc.Close()
	}
	if _, err := take(); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Fatalf("taking over a live socket with a full backlog: %v", err)
	}
	ln.Close()
	must.Do(t, ln.Remove())
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Fatalf("Remove left the file: %v", err)
	}
	if err := ln.Remove(); err != nil {
		t.Fatalf("removing it again: %v", err)
	}

	must.Do(t, os.Mkdir(path, 0o700))
	if _, err := take(); err == nil || !strings.Contains(err.Error(), "socket") {
		t.Fatalf("taking over a directory: %v", err)
	}
}

func TestRemoveLeavesASuccessor(t *testing.T) {
	path := filepath.Join(socketDir(t), "s")
	addr := wire.Addr{Name: path, Network: "unix", Address: path}
	ln, err := eventloop.Listen(addr, 1)
	must.Do(t, err)
	successor := path + ".new" // bound first, so that its inode is another one
	next, err := eventloop.Listen(wire.Addr{Name: successor, Network: "unix", Address: successor}, 1)
	must.Do(t, err)
	defer next.Close()
	ln.Close()
	must.Do(t, os.Rename(successor, path))
	must.Do(t, ln.Remove())
	if _, err := os.Lstat(path); err != nil {
		t.Fatalf("the successor's socket is gone: %v", err)
	}
}

func TestListenTCP(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		a := wire.Addr{Name: address, Network: "tcp", Address: address}
		ln, err := eventloop.Listen(a, 1)
		if err != nil {
			t.Logf("no %s here: %v", address, err)
			continue
		}
		defer ln.Close()
		nc, err := net.Dial("tcp", ln.Addr().Address)
		must.Do(t, err)
		nc.Close()
		if _, err := eventloop.Listen(ln.Addr(), 1); err == nil {
			t.Fatal("two listeners on one port")
		}
	}
	for _, address := range []string{"", "127.0.0.1", "[fe80::1%lo]:80"} {
		if ln, err := eventloop.Listen(wire.Addr{Network: "tcp", Address: address}, 1); err == nil {
			ln.Close()
			t.Errorf("listening on %q", address)
		}
	}
}
