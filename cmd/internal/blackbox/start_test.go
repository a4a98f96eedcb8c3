package blackbox

import (
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"kivaloo/cmd/internal/daemon/daemontest"
	"kivaloo/disk"
	"kivaloo/internal/must"
)

// nobody is a user that owns nothing.
const nobody = 65534

// serveIn returns a command line of serve in a place, without --dir.
func serveIn(place string, options ...string) *exec.Cmd {
	cmd := exec.Command(daemontest.Program("kivaloo"), append([]string{"serve"}, options...)...)
	cmd.Dir = place
	return cmd
}

// asNobody makes cmd run as a user without the right to override permissions.
func asNobody(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if os.Geteuid() != 0 {
		return
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	must.Do(t, os.Chmod(filepath.Dir(cmd.Path), 0o755))
	must.Do(t, os.Chmod(cmd.Dir, 0o755))
}

// writeStore creates a small store in a directory.
func writeStore(t *testing.T, dir string, options ...string) {
	t.Helper()
	s := &serve{place: filepath.Dir(dir), options: options}
	if filepath.Base(dir) != "d" {
		t.Fatalf("the store would not be in %s", dir)
	}
	s.start(t)
	must.Do(t, connect(t, s.addr()).Set("key", "value"))
	s.stop(t)
}

// damage overwrites the beginning of every block in a directory, whatever its size.
func damage(t *testing.T, dir string) {
	t.Helper()
	for name := range blockFiles(t, dir) {
		path := filepath.Join(dir, name)
		content, err := os.ReadFile(path)
		must.Do(t, err)
		for at := 0; at < len(content); at += disk.MinBlockSize {
			copy(content[at:], make([]byte, 16))
		}
		must.Do(t, os.WriteFile(path, content, 0o600))
	}
}

// TestServeRefuses starts serve with what it cannot be started with. It must say why in one line,
// exit with status 1, and leave everything unchanged.
func TestServeRefuses(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		prepare func(t *testing.T, place string) // creates the obstacle
		options []string
		user    bool // as an ordinary user, not root
		says    string
	}{
		{name: "a file", prepare: func(t *testing.T, place string) {
			must.Do(t, os.WriteFile(filepath.Join(place, "d"), []byte("text"), 0o600))
		}, says: "d: not a directory"},
		{name: "below a file", prepare: func(t *testing.T, place string) {
			must.Do(t, os.WriteFile(filepath.Join(place, "d"), []byte("text"), 0o600))
		}, options: []string{"--dir", "d/e"}, says: "d/e: not a directory"},
		{name: "a link to nowhere", prepare: func(t *testing.T, place string) {
			must.Do(t, os.Symlink("nowhere", filepath.Join(place, "d")))
		}, says: "d: "},
		{name: "unreadable", prepare: func(t *testing.T, place string) {
			must.Do(t, os.Mkdir(filepath.Join(place, "d"), 0o300))
		}, user: true, says: "d: permission denied"},
		{name: "not to be entered", prepare: func(t *testing.T, place string) {
			writeStore(t, filepath.Join(place, "d"))
			must.Do(t, os.Chmod(filepath.Join(place, "d"), 0o600))
			t.Cleanup(func() { os.Chmod(filepath.Join(place, "d"), 0o700) })
		}, user: true, says: ": permission denied"},
		{name: "not to be made", user: true, says: "d: permission denied", prepare: func(t *testing.T, place string) {
			if os.Geteuid() != 0 {
				must.Do(t, os.Chmod(place, 0o500))
				t.Cleanup(func() { os.Chmod(place, 0o700) })
			}
		}},
		{name: "files of another user", prepare: func(t *testing.T, place string) {
			writeStore(t, filepath.Join(place, "d"))
			for name := range blockFiles(t, filepath.Join(place, "d")) {
				must.Do(t, os.Chmod(filepath.Join(place, "d", name), 0))
			}
			must.Do(t, os.Chmod(filepath.Join(place, "d"), 0o755))
		}, user: true, says: ": permission denied"},
		{name: "another block size", prepare: func(t *testing.T, place string) {
			writeStore(t, filepath.Join(place, "d"), "--block-size", "512")
		}, options: []string{"--block-size", "1024"}, says: "has blocks of 512 bytes, not 1024: open it with that size"},
		{name: "another block size, of one block", prepare: func(t *testing.T, place string) {
			copyGolden(t, "s512-empty", filepath.Join(place, "d"))
		}, options: []string{"--block-size", "700"}, says: "has blocks of 512 bytes, not 700: open it with that size"},
		{name: "damaged", prepare: func(t *testing.T, place string) {
			writeStore(t, filepath.Join(place, "d"))
			damage(t, filepath.Join(place, "d"))
		}, says: "d: cannot tell the block size: no page in it can be recognised; if you know it, give --block-size"},
		{name: "no pages", prepare: func(t *testing.T, place string) {
			must.Do(t, os.Mkdir(filepath.Join(place, "d"), 0o700))
			must.Do(t, os.WriteFile(filepath.Join(place, "d/blks_0000000000000000"), []byte(strings.Repeat("text", 1000)), 0o600))
		}, says: "d: cannot tell the block size: no page in it can be recognised; if you know it, give --block-size"},
		{name: "damaged, block size given", prepare: func(t *testing.T, place string) {
			writeStore(t, filepath.Join(place, "d"))
			damage(t, filepath.Join(place, "d"))
		}, options: []string{"--block-size", "2048", "--storage-cost", "0"}, says: "restore the store from a backup"},
		{name: "a file is missing", prepare: func(t *testing.T, place string) {
			copyGolden(t, "s512-torn-base", filepath.Join(place, "d"))
			must.Do(t, os.Remove(filepath.Join(place, "d/blks_000000000000000a")))
		}, says: "blks_0000000000000013"},
		{name: "not a socket", prepare: func(t *testing.T, place string) {
			writeStore(t, filepath.Join(place, "d"))
			must.Do(t, os.WriteFile(filepath.Join(place, "d/kivaloo.sock"), []byte("text"), 0o600))
		}, says: "kivaloo.sock: there is something else than a socket at this path"},
		{name: "a long path", options: []string{"--dir", strings.Repeat("long", 24)},
			says: "is too long: the path of the socket in it would have 109 bytes"},
		{name: "a long path to listen on", options: []string{"--listen", "/" + strings.Repeat("long", 27)}, says: "--listen /long"},
		{name: "any address", options: []string{"--listen", "0.0.0.0:4711"}, says: "--listen 0.0.0.0:4711 can be reached from other machines"},
		{name: "any address, what to do", options: []string{"--listen", "[::]:4711"},
			says: "unix socket or a loopback address and put kivaloo-mux in front, or say --insecure-listen"},
		{name: "the place of another store", prepare: func(t *testing.T, place string) {
			copyGolden(t, "s512-empty", filepath.Join(place, "other"))
		}, options: []string{"--listen", "./other"}, says: "other/kivaloo.sock (./other): that directory holds another store; listen somewhere else"},
		{name: "no address", options: []string{"--listen", "nonsense"}, says: "--listen nonsense: "},
		{name: "unknown flag", options: []string{"--what"}, says: "unknown flag: --what; see `kivaloo serve --help`"},
		{name: "an argument", options: []string{"what"}, says: `unexpected argument "what"`},
		{name: "block size", options: []string{"--block-size", "511"}, says: `invalid argument "511" for "--block-size" flag: want a number from 512 to 131072`},
		{name: "no number", options: []string{"--block-size", "many"}, says: "--block-size"},
		{name: "cache", options: []string{"--cache", "1Mi"}, says: "--cache 1Mi is 512 pages of 2048 bytes: want 1024 to"},
		{name: "no cache", options: []string{"--cache", "0"}, says: "--cache 0"},
		{name: "max key", options: []string{"--max-key", "256"}, says: `invalid argument "256" for "--max-key" flag: want a number from 0 to 255`},
		{name: "max value", options: []string{"--block-size", "512", "--max-value", "105"}, says: "more than a third of a block"},
		{name: "commit delay", options: []string{"--commit-delay", "2s"}, says: `invalid argument "2s" for "--commit-delay" flag: want a duration from 0s to 1s`},
		{name: "min commit", options: []string{"--min-commit", "-1"}, says: `invalid argument "-1" for "--min-commit" flag`},
		{name: "max connections", options: []string{"--max-connections", "-1"}, says: `invalid argument "-1" for "--max-connections" flag`},
		{name: "storage cost", options: []string{"--storage-cost", "NaN"}, says: `invalid argument "NaN" for "--storage-cost" flag`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			place := daemontest.Place(t)
			if tc.prepare != nil {
				tc.prepare(t, place)
			}
			cmd := serveIn(place, append([]string{"--dir", "d"}, tc.options...)...)
			if tc.user {
				asNobody(t, cmd)
			}
			before := treeHash(t, place)
			runCommand(t, cmd).want(t, 1, "", tc.says)
			if treeHash(t, place) != before {
				t.Error("something has been changed")
			}
		})
	}
}

// TestFailedStartLeavesNothing checks that a start that fails before there is a store leaves
// neither a store nor anything else.
func TestFailedStartLeavesNothing(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	must.Do(t, err)
	defer taken.Close()
	for _, options := range [][]string{
		{"--listen", taken.Addr().String()},
		{"--listen", "./free.sock", "--listen", taken.Addr().String()},
		{"--listen", "./absent/x.sock"},
		{"--listen", "./file"},
		{"--listen", "./file/x.sock"},
		{"--listen", "./taken.sock"},
		{"--listen", "./d/free.sock", "--listen", "./taken.sock"},
		{"--dir", "a/b/c", "--listen", "./taken.sock"},
		{"--dir", "occupied"},
		{"--debug-addr", taken.Addr().String()},
		{"--debug-addr", "nonsense"},
		{"--journal", "many"},
		{"--max-key", "256"},
		{"--cache", "1"},
		{"--block-size", "511"},
	} {
		t.Run(strings.Join(options, " "), func(t *testing.T) {
			place := daemontest.Place(t)
			must.Do(t, os.WriteFile(filepath.Join(place, "file"), nil, 0o600))
			must.Do(t, os.Mkdir(filepath.Join(place, "occupied"), 0o700))
			for _, path := range []string{"taken.sock", "occupied/kivaloo.sock"} {
				ln, err := net.Listen("unix", filepath.Join(place, path))
				must.Do(t, err)
				defer ln.Close()
			}
			before := everythingIn(t, place)
			r := runCommand(t, serveIn(place, append([]string{"--dir", "d"}, options...)...))
			if r.status.ExitStatus() != 1 || strings.Count(r.stderr, "\n") != 1 {
				t.Errorf("status %#x, said %q", r.status, r.stderr)
			}
			if after := everythingIn(t, place); after != before {
				t.Errorf("left behind: %s", after)
			}
		})
	}
}

// everythingIn returns the names of everything in and below a directory.
func everythingIn(t *testing.T, dir string) (names string) {
	t.Helper()
	must.Do(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		names += path + "\n"
		return err
	}))
	return names
}

// TestFailedStartOfDaemonsLeavesNoStore checks that the daemons notice an unwritable pid file, or
// an unavailable socket, before they create a store.
func TestFailedStartOfDaemonsLeavesNoStore(t *testing.T) {
	t.Parallel()
	d := newDaemons(t, 512)
	d.start(t)
	d.stop(t)
	before := blockFiles(t, d.dir())

	place := daemontest.Place(t)
	must.Do(t, os.Mkdir(filepath.Join(place, "blocks"), 0o700))
	lbs := filepath.Join(place, "lbs")
	daemontest.Start(t, place, "lbs.pid", daemontest.Program("kivaloo-lbs"), "-s", lbs, "-d", "blocks", "-b", "512")
	for _, options := range [][]string{
		{"-s", "./kvlds", "-p", "absent/pid"},
		{"-s", "absent/kvlds"},
		{"-s", "./kvlds1", "-k", "200"},
		{"-s", "./kvlds2", "-C", "1"},
		{"-s", "./kvlds3", "-c", "1"},
	} {
		r := daemontest.Run(t, place, daemontest.Program("kivaloo-kvlds"), append(options, "-l", lbs)...)
		if r.Status.ExitStatus() != 1 {
			t.Errorf("%q: status %v, %s", options, r.Status, r.Output)
		}
		if files := blockFiles(t, filepath.Join(place, "blocks")); len(files) > 0 {
			t.Errorf("%q: left behind: %v", options, files)
		}
	}
	if len(before) == 0 {
		t.Error("a start that succeeds makes no store")
	}
}

// TestServeInUse checks that a directory in use by serve cannot be opened by another serve, nor by
// a block store.
func TestServeInUse(t *testing.T) {
	t.Parallel()
	s := newServe(t)
	s.start(t)
	c := connect(t, s.addr())
	must.Do(t, c.Set("key", "value"))
	thaw := freeze(t, s.process) // it writes checksums and the like when it is idle
	before := treeHash(t, s.dir())
	runCommand(t, s.command()).want(t, 1, "", "in use by another process")
	place := daemontest.Place(t)
	r := daemontest.Run(t, place, daemontest.Program("kivaloo-lbs"), "-s", filepath.Join(place, "lbs"), "-d", s.dir(), "-b", "2048")
	run{r.Status, "", r.Output}.want(t, 1, "", "in use by another process")
	kivaloo(t, "", "check", s.dir()).want(t, 1, "", "in use by another process")
	if treeHash(t, s.dir()) != before {
		t.Error("something has been changed")
	}
	thaw()
	if value, err := c.Get("key"); err != nil || string(value) != "value" {
		t.Errorf("then: %q, %v", value, err)
	}
}

// TestServeMakesDirectory checks that a missing directory, and its parents, are created for its
// owner only.
func TestServeMakesDirectory(t *testing.T) {
	t.Parallel()
	place := daemontest.Place(t)
	s := &serve{place: filepath.Join(place, "not", "yet"), options: []string{"--block-size", "700"}}
	s.start(t)
	must.Do(t, connect(t, s.addr()).Set("key", "value"))
	info, err := os.Stat(s.dir())
	must.Do(t, err)
	if info.Mode().Perm() != 0o700 {
		t.Errorf("directory with permissions %v", info.Mode())
	}
	s.stop(t)
	s.options = nil // the block size is detected
	s.start(t)
	if value, err := connect(t, s.addr()).Get("key"); err != nil || string(value) != "value" {
		t.Errorf("after a restart: %q, %v", value, err)
	}
}

// TestServeTakesOverSocket checks that the socket left by a killed server is replaced, and that a
// socket at which somebody answers is not.
func TestServeTakesOverSocket(t *testing.T) {
	t.Parallel()
	s := newServe(t)
	s.start(t)
	must.Do(t, connect(t, s.addr()).Set("key", "value"))
	s.crash(t, nil)
	if info, err := os.Lstat(s.addr()); err != nil || info.Mode().Type() != os.ModeSocket {
		t.Fatalf("no socket is left after a kill: %v, %v", info, err)
	}
	s.start(t)
	if value, err := connect(t, s.addr()).Get("key"); err != nil || string(value) != "value" {
		t.Errorf("after a restart: %q, %v", value, err)
	}
	s.stop(t)

	ln, err := net.Listen("unix", s.addr())
	must.Do(t, err)
	defer ln.Close()
	before := treeHash(t, s.dir())
	runCommand(t, s.command()).want(t, 1, "", "kivaloo.sock: another process is listening here; stop it, or choose another path")
	if treeHash(t, s.dir()) != before {
		t.Error("something has been changed")
	}
	elsewhere := filepath.Join(s.place, "elsewhere")
	other, err := net.Listen("unix", elsewhere)
	must.Do(t, err)
	defer other.Close()
	must.Do(t, ln.Close())
	s.options = []string{"--listen", elsewhere}
	runCommand(t, s.command()).want(t, 1, "", "elsewhere: another process is listening here")
	if _, err := os.Lstat(s.addr()); !os.IsNotExist(err) {
		t.Errorf("the socket that it had made is left: %v", err)
	}
}
