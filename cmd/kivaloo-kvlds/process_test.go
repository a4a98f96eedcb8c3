package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"kivaloo/cmd/internal/daemon/daemontest"
	"kivaloo/cmd/internal/stopping"
	"kivaloo/cmd/internal/version"
	"kivaloo/internal/must"
	"kivaloo/wire"
)

func TestReadyWhenTheStartCommandReturns(t *testing.T) {
	t.Parallel()
	s := startStack(t, 512)
	for range 3 {
		s.connectOnce(t, func(c *client) { c.mustMiss(t, "k") })
		s.restart(t)
	}
}

// TestRefusedCommandLines checks command lines that are refused with any block store, before
// anything is touched.
func TestRefusedCommandLines(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	s, b := p.socket(), p.path("b")
	const usage = "usage: kivaloo-kvlds "
	for _, c := range []struct {
		args []string
		says string
	}{
		{nil, usage},
		{[]string{"-s", s}, "option is missing -- -l\n" + usage},
		{[]string{"-l", b}, "option is missing -- -s\n" + usage},
		{p.args("left"), usage},
		{p.args("-x"), "illegal option -- -x\n" + usage},
		{p.args("--nonsense"), "illegal option -- --nonsense\n" + usage},
		{p.args("-w"), "requires an argument -- -w\n" + usage},
		{p.args("-1", "-1"), usage},
		{p.args("-C", "1024", "-c", "1M"), "options exclude each other -- -C -c\n" + usage},
		{p.args("-C", "1023"), "option -C: "},
		{p.args("-C", "1073741825"), "option -C: "},
		{p.args("-C", "0x400"), "option -C: "},
		{p.args("-c", "128Mi"), "option -c: "},
		{p.args("-c", ""), "option -c: "},
		{p.args("-k", "256"), "option -k: "},
		{p.args("-k", "-1"), "option -k: "},
		{p.args("-v", "256"), "option -v: "},
		{p.args("-v", "1k"), "option -v: "},
		{p.args("-S", "-0.1"), "option -S: "},
		{p.args("-S", "1x"), "option -S: "},
		{p.args("-S", "nan"), "option -S: "},
		{p.args("-w", "1.01"), "option -w: "},
		{p.args("-w", "-0.01"), "option -w: "},
		{p.args("-g", "0"), "option -g: "},
		{p.args("-g", "1025"), "option -g: "},
		{p.args("-n", "0"), "option -n: "},
		{p.args("-n", "65537"), "option -n: "},
		{[]string{"-s", "", "-l", b}, "address"},
		{[]string{"-s", ":5", "-l", b}, "address"},
		{[]string{"-s", s, "-l", ""}, "address"},
		{[]string{"-s", s, "-l", "localhost"}, "address"},
		{[]string{"-s", s, "-l", "[127.0.0.1]:0"}, "address"},
		{[]string{"-s", p.path("no/s"), "-l", b}, "no such file"},
	} {
		t.Run(fmt.Sprint(c.args), func(t *testing.T) { mustRefuse(t, p.run(t, c.args...), c.says) })
	}
	if entries, err := os.ReadDir(string(p)); err != nil || len(entries) != 1 {
		t.Errorf("refused command lines leave %v, %v", entries, err)
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	r := newPlace(t).run(t, "-g", "3", "--version", "--nonsense")
	if want := "kivaloo-kvlds " + version.Release + " ("; r.Status != 0 || !strings.HasPrefix(r.Output, want) {
		t.Errorf("status %v, said %q, want %q", r.Status, r.Output, want)
	}
}

// TestLimitsByBlockSize checks key and value limits and cache sizes that a block size does or does
// not allow. Clients are told the allowed ones.
func TestLimitsByBlockSize(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		blockSize int
		options   string
		key       uint32
		value     uint32
		refused   string
	}{
		{512, "", 64, 96, ""},
		{512, "-k 64 -v 104", 64, 104, ""},
		{512, "-k 82 -v 0", 82, 0, ""},
		{512, "-k 0 -v 168", 0, 168, ""},
		{512, "-k 5", 5, 96, ""},
		{512, "-v 50", 64, 50, ""},
		{512, "-v 105", 0, 0, "value 105"},
		{512, "-v 200", 0, 0, "value 200"},
		{512, "-k 83 -v 0", 0, 0, "key 83"},
		{512, "-k 0 -v 169", 0, 0, "value 169"},
		{512, "-k 96 -v 32", 0, 0, "key 96"},
		{512, "-k 94 -v 32", 0, 0, "key 94"},
		{512, "-c 524288", 64, 96, ""},
		{512, "-c 524287", 0, 0, "1023 pages"},
		{512, "-c 511", 0, 0, "0 pages"},
		{512, "-c 600G", 0, 0, "1171875000 pages"},
		{1023, "", 64, 96, ""},
		{1024, "", 128, 192, ""},
		{2047, "", 128, 192, ""},
		{2048, "-C 2k", 255, 255, ""},
		{131072, "", 255, 255, ""},
		{131072, "-c 128M", 0, 0, "976 pages"},
		{131072, "-c 135MB", 255, 255, ""},
	} {
		t.Run(fmt.Sprint(c.blockSize, c.options), func(t *testing.T) {
			t.Parallel()
			p := newPlace(t)
			f := p.startFake(t, c.blockSize)
			options := strings.Fields(c.options)
			if c.refused != "" {
				mustRefuse(t, p.run(t, p.args(append(options, "--foreground")...)...), c.refused)
				p.mustHaveSocket(t)
				f.mustSee(t, 0)
				return
			}
			p.foreground(t, options...)
			answer, err := p.connect(t).ask(params)
			must.Do(t, err)
			if key, value, err := wire.ParseKVParams(answer); err != nil || key != c.key || value != c.value {
				t.Errorf("limits %d and %d, %v, want %d and %d", key, value, err, c.key, c.value)
			}
		})
	}
}

func TestOptionSyntax(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.startBlocks(t, 1000)
	r := p.run(t, "-1n0x2", "-S1e3", "-w", " .01", "-g", "1 k", "-C2 k", "-k60", "-s"+p.socket(), "-l", p.path("b"), "-p", p.path("pid"), "--")
	if r.Status != 0 {
		t.Fatalf("status %v, said %q", r.Status, r.Output)
	}
	d := daemontest.Take(t, p.path("pid"))
	if !absent(p.path("s.pid")) {
		t.Error("-p does not replace the default pid file")
	}
	p.connectOnce(t, func(c *client) { c.mustChange(t, set("k", "v"), 0) })
	if status := d.Wait(t); status.ExitStatus() != 0 {
		t.Errorf("ended with %v", status)
	}
}

// TestSocketIsLeftBehind checks that a daemon without a usable block store leaves its socket
// behind. So does a stopped daemon.
func TestSocketIsLeftBehind(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	mustRefuse(t, p.run(t, p.args()...), "no such file")
	p.mustHaveSocket(t)
	if !absent(p.path("s.pid")) {
		t.Error("it has left a pid file")
	}
	// The remaining socket prevents the next start, even if everything else is repaired.
	p.startBlocks(t, 512)
	mustRefuse(t, p.run(t, p.args()...), "address already in use")
	p.mustHaveSocket(t)
	p.clear(t)
	d := p.start(t)
	d.Signal(t, syscall.SIGTERM)
	if status := d.Wait(t); status.Signal() != syscall.SIGTERM {
		t.Errorf("SIGTERM: ended with %v", status)
	}
	p.mustHaveSocket(t)
	if absent(p.path("s.pid")) {
		t.Error("the pid file is gone")
	}
}

func TestPidFileThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.startBlocks(t, 512)
	mustRefuse(t, p.run(t, p.args("-p", p.path("no/such/dir"))...), "pid file")
}

func TestFilesFollowUmask(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.startBlocks(t, 512)
	cmd := exec.CommandContext(t.Context(), "sh", append([]string{"-c", `umask 027; exec "$0" "$@"`,
		daemontest.Program("kivaloo-kvlds")}, p.args()...)...)
	if r := daemontest.RunCommand(t, cmd); r.Status != 0 {
		t.Fatalf("status %v, said %q", r.Status, r.Output)
	}
	daemontest.Take(t, p.path("s.pid"))
	for name, want := range map[string]os.FileMode{"s": 0o750, "s.pid": 0o640} {
		if info, err := os.Stat(p.path(name)); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v, want %v", name, info, err, want)
		}
	}
}

// TestTCP runs both daemons and the client over TCP.
func TestTCP(t *testing.T) {
	t.Parallel()
	for _, host := range []string{"localhost", "[127.0.0.1]", "[::1]"} {
		t.Run(host, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t)
			blocks := p.startTCP(t, host, "kivaloo-lbs", "-d", p.path("d"), "-b512", "-L")
			kvlds := p.startTCP(t, host, "kivaloo-kvlds", "-l", blocks, "-v104")
			must.Do(t, sequence(t.Context(), kvlds, 100))
		})
	}
}

// startTCP starts a daemon on a free port and returns its address. It tries another port if the
// chosen one has been taken meanwhile.
func (p place) startTCP(t *testing.T, host, program string, args ...string) (addr string) {
	t.Helper()
	var r daemontest.Result
	for range 5 {
		ln, err := net.Listen("tcp", host+":0")
		if err != nil && strings.Contains(host, "::") {
			t.Skipf("no IPv6 here: %v", err)
		}
		must.Do(t, err)
		addr = fmt.Sprintf("%s:%d", host, ln.Addr().(*net.TCPAddr).Port)
		ln.Close()
		r = daemontest.Run(t, string(p), daemontest.Program(program), append([]string{"-s", addr}, args...)...)
		if r.Status == 0 {
			// The pid file of a TCP address is in the working directory.
			daemontest.Take(t, p.path(addr+".pid"))
			return addr
		}
		if !strings.Contains(r.Output, "address already in use") {
			break
		}
	}
	t.Fatalf("%s: status %v, said %q", program, r.Status, r.Output)
	return ""
}

// TestClientsAtATime checks that the second of two clients waits until the first has gone. With -n
// 2, the third one waits.
func TestClientsAtATime(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 2} {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			t.Parallel()
			s := startStack(t, 512, "-n", strconv.Itoa(n))
			var clients []*client
			for i := range n {
				c := s.connect(t)
				c.mustChange(t, set(number(i), "v"), 0)
				clients = append(clients, c)
			}
			for i, c := range clients {
				c.mustGet(t, number(n-1-i), "v") // stored by another client, if there is one
			}
			late := s.connect(t)
			must.Do(t, late.send(get(number(0))))
			must.Do(t, late.Silent())
			clients[0].Close()
			late.mustReceive(t, 1, 1)
			late.mustGet(t, number(n-1), "v")
		})
	}
}

func TestEndAfterTheFirstConnection(t *testing.T) {
	t.Parallel()
	s := startStack(t, 512, "-1")
	first, second := s.connect(t), s.connect(t)
	must.Do(t, second.send(params))
	first.mustChange(t, set("k", "v"), 0)
	first.Close()
	if status := s.kvlds.Wait(t); status.ExitStatus() != 0 {
		t.Errorf("ended with %v", status)
	}
	must.Do(t, second.Closed())
}

// TestStop checks that a stop finishes and answers pending requests, and ends with the right
// status.
func TestStop(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	f := p.startFake(t, 512)
	pr := p.foreground(t)
	c := p.connect(t)
	f.hold(true)
	before := f.count()
	must.Do(t, c.send(set("k", "v")))
	f.mustSee(t, before+1)
	must.Do(t, c.send(set("l", "w"), get("k")))
	c.mustReceive(t, 3, 1) // the SET before it has arrived too
	must.Do(t, pr.cmd.Process.Signal(syscall.SIGINT))
	must.Do(t, c.Silent())
	f.hold(false)
	f.release(t)
	c.mustReceive(t, 1, 2)
	must.Do(t, c.Closed())
	if status, said := pr.wait(); status.Signal() != syscall.SIGINT || said != "" {
		t.Errorf("ended with %v, said %q", status, said)
	}
	p.clear(t)
	p.start(t)
	c = p.connect(t)
	c.mustGet(t, "k", "v")
	c.mustGet(t, "l", "w")
}

// TestSecondSignalLeavesAtOnce checks that a second signal does not wait for a block store that
// does not answer.
func TestSecondSignalLeavesAtOnce(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	f := p.startFake(t, 512)
	d := p.start(t)
	c := p.connect(t)
	f.hold(true)
	before := f.count()
	must.Do(t, c.send(set("k", "v")))
	f.mustSee(t, before+1)
	d.Signal(t, syscall.SIGTERM)
	// The daemon has received it once it no longer accepts connections.
	must.Eventually(t, "nothing listens", func() bool {
		nc, err := net.Dial("unix", p.socket())
		if err == nil {
			nc.Close()
		}
		return errors.Is(err, syscall.ECONNREFUSED)
	})
	time.Sleep(2 * stopping.Together)
	d.Signal(t, syscall.SIGTERM)
	if status := d.Wait(t); status.Signal() != syscall.SIGTERM {
		t.Errorf("ended with %v", status)
	}
}
