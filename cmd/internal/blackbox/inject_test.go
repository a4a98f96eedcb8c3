package blackbox

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kivaloo/cmd/internal/blackbox/kvtest"
	"kivaloo/cmd/internal/daemon/daemontest"
	"kivaloo/internal/must"
	"kivaloo/wire/wiretest"
)

// injection says how strace disturbs system calls of a process. when selects the calls: 3 is the
// third call of each thread from now on, 3+ that one and all later ones.
type injection struct {
	calls, what, when string
	passes            bool // a shortage: changes succeed again when it is over
}

func (i injection) String() string { return i.calls + " " + i.what + " " + i.when }

const (
	// afterFault is how long a load continues after a fault that it may not notice.
	afterFault = 100 * time.Millisecond

	// noFault is how long to wait, in a long run, for a fault that may not happen.
	noFault = 5 * time.Second

	// injectedDelay is how long calls are delayed.
	injectedDelay = 100 * time.Millisecond
)

// tracer is a strace attached to a process.
type tracer struct {
	process *daemontest.Daemon
	calls   string // the file that lists the calls
}

// straceCommand returns a strace command that disturbs calls of the process described by rest.
func straceCommand(t *testing.T, i injection, rest ...string) (cmd *exec.Cmd, calls string) {
	t.Helper()
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("strace is not installed: faults cannot be injected into real processes")
	}
	calls = filepath.Join(t.TempDir(), "calls")
	inject := fmt.Sprintf("inject=%s:%s:when=%s", i.calls, i.what, i.when)
	return exec.Command(strace, append([]string{"-f", "-o", calls, "-e", "trace=" + i.calls, "-e", inject}, rest...)...), calls
}

// inject disturbs system calls of a process until over is called.
func inject(t *testing.T, d *daemontest.Daemon, i injection) *tracer {
	t.Helper()
	cmd, calls := straceCommand(t, i, "-p", strconv.Itoa(d.Pid))
	tr := &tracer{calls: calls}
	var said string
	tr.process, said = daemontest.Foreground(t, cmd)
	must.Eventually(t, "strace is attached", func() bool {
		text, err := os.ReadFile(said)
		must.Do(t, err)
		if strings.Contains(string(text), "Operation not permitted") {
			t.Skipf("strace may not attach to processes: %s", text)
		}
		return strings.Contains(string(text), "attached")
	})
	return tr
}

// hit reports whether a call has been disturbed.
func (tr *tracer) hit(t *testing.T) bool {
	t.Helper()
	text, err := os.ReadFile(tr.calls)
	if os.IsNotExist(err) {
		return false
	}
	must.Do(t, err)
	return strings.Contains(string(text), "(INJECTED)") || strings.Contains(string(text), "(DELAYED)")
}

// mustHit is hit, but fails the test if no call was disturbed, except in long runs, where the fault
// may come too late.
func (tr *tracer) mustHit(t *testing.T) bool {
	t.Helper()
	hit := tr.hit(t)
	switch {
	case !hit && daemontest.Torture():
		t.Log("no call was disturbed")
	case !hit:
		t.Error("no call was disturbed: nothing has been tried")
	}
	return hit
}

// over stops disturbing the process.
func (tr *tracer) over(t *testing.T) {
	t.Helper()
	tr.process.Signal(t, syscall.SIGINT)
	tr.process.Wait(t)
}

// injections returns the faults for a process in use: some in an ordinary run, all in a long one.
func injections() (all []injection) {
	add := func(calls, what string, passes bool, whens ...string) {
		for _, when := range whens {
			all = append(all, injection{calls, what, when, passes})
		}
	}
	if !daemontest.Torture() {
		add("fdatasync", "error=EIO", false, "2", "1+")
		add("fdatasync", "error=ENOSPC", true, "1")
		add("pwrite64,pwritev", "error=EIO", false, "3")
		add("pwrite64,pwritev", "error=EDQUOT", true, "1+")
		add("fsync", "error=EIO", false, "1")
		add("openat", "error=EMFILE", true, "1")
		add("unlink,unlinkat", "error=EIO", false, "1")
		add("fdatasync", fmt.Sprintf("delay_exit=%d", injectedDelay.Microseconds()), true, "1+")
		return all
	}
	whens := []string{"1", "2", "3", "5", "8", "13", "1+", "4+"}
	for _, calls := range []string{"fdatasync", "fsync", "pwrite64,pwritev", "openat", "unlink,unlinkat"} {
		for _, errno := range []string{"EIO", "EROFS", "EFBIG"} {
			add(calls, "error="+errno, false, whens...)
		}
		for _, errno := range []string{"ENOSPC", "EDQUOT"} {
			add(calls, "error="+errno, true, whens...)
		}
		add(calls, fmt.Sprintf("delay_enter=%d", injectedDelay.Microseconds()), true, "1+")
		add(calls, fmt.Sprintf("delay_exit=%d", injectedDelay.Microseconds()), true, "1+")
	}
	add("openat", "error=EMFILE", true, whens...)
	return all
}

// eachInjection runs a test with each fault: all in parallel in an ordinary run, one after the
// other in a long one.
func eachInjection(t *testing.T, test func(t *testing.T, i injection, rnd *rand.Rand)) {
	for _, i := range injections() {
		t.Run(i.String(), func(t *testing.T) {
			if !daemontest.Torture() {
				t.Parallel()
			}
			test(t, i, daemontest.Seeded(t))
		})
	}
}

// TestServeInjected makes system calls of a running serve fail or delays them. What was
// acknowledged must be there, and nothing else may have been acknowledged. Reads must go on. If the
// log says that the store is read-only, it must be, until the next start; otherwise changes must
// succeed again when the fault is over.
func TestServeInjected(t *testing.T) {
	t.Parallel()
	eachInjection(t, func(t *testing.T, i injection, rnd *rand.Rand) {
		s := newServe(t, "--block-size", "512", "--cache", "1M", "--journal", []string{"4k", "64k"}[rnd.IntN(2)])
		s.start(t)
		l := kvtest.NewLoad(rnd, "load")
		serveInjected(t, s, l, i, rnd)
	})
}

func serveInjected(t *testing.T, s *serve, l *kvtest.Load, i injection, rnd *rand.Rand) {
	t.Helper()
	tr := inject(t, s.process, i)
	started := time.Now()
	runUntilHit(t, s.addr(), l, tr)
	if strings.HasPrefix(i.what, "delay") && i.calls == "fdatasync" && l.Acknowledged() > 0 && time.Since(started) < injectedDelay {
		t.Errorf("changes were acknowledged %v after the first sync began, which took %v", time.Since(started), injectedDelay)
	}
	if !alive(s.process) {
		t.Fatalf("serve has ended: %s", s.said(t))
	}
	descriptors := openDescriptors(t, s.process)
	readOnly := func() bool {
		return strings.Contains(s.said(t), "read-only from now on: remove the cause and restart")
	}
	if i.calls != "openat" { // otherwise reads may need a file that cannot be opened
		must.Do(t, l.Look(readAll(t, s.addr())))
	}
	hit := tr.mustHit(t)
	tr.over(t)
	must.Do(t, l.Look(readAll(t, s.addr())))
	if sync := i.calls == "fdatasync" || i.calls == "pwrite64,pwritev"; sync && i.when == "1+" && !i.passes && !readOnly() {
		t.Errorf("no write can be made durable, and the log does not say so: %s", s.said(t))
	}
	switch {
	case readOnly() && (i.passes || !hit):
		t.Fatalf("a shortage is taken for a failure: %s", s.said(t))
	case readOnly():
		refuses(t, s.addr())
	default:
		must.Eventually(t, "changes are made again", func() bool { return changes(t, s.addr()) })
	}
	if now := openDescriptors(t, s.process); now > descriptors+8 { // block files that have been opened meanwhile
		t.Errorf("%d descriptors are open, and %d later", descriptors, now)
	}
	switch {
	case rnd.IntN(2) == 0:
		s.crash(t, rnd)
	case readOnly(): // its exit status says whether the last flush failed
		s.process.Signal(t, syscall.SIGTERM)
		s.process.Wait(t)
	default:
		s.stop(t)
	}
	s.start(t)
	must.Do(t, l.Check(readAll(t, s.addr())))
	must.Do(t, connect(t, s.addr()).Set("key", "value"))
	s.stop(t)
	checkStore(t, s.dir())
}

// TestStartInjected makes system calls of a starting serve fail. It must say so and exit, or serve.
// In either case the next start must find everything acknowledged.
func TestStartInjected(t *testing.T) {
	t.Parallel()
	rnd := daemontest.Seeded(t)
	s := newServe(t, "--block-size", "512", "--cache", "1M", "--journal", "4k")
	l := kvtest.NewLoad(rnd, "load")
	last := 1
	if daemontest.Torture() {
		last = 20
	}
	ended := 0
	for _, calls := range []string{"openat", "fdatasync", "fsync", "pwrite64,pwritev", "pread64,preadv"} {
		for n := 1; n <= last; n++ {
			s.start(t)
			ctx, cancel := context.WithTimeout(t.Context(), afterFault)
			must.Do(t, l.Run(ctx, s.addr()))
			cancel()
			s.crash(t, rnd) // so that the next start has something to do
			errno := []string{"EIO", "EROFS", "EMFILE", "ENOSPC"}[rnd.IntN(4)]
			when := strconv.Itoa(n) + []string{"", "+"}[rnd.IntN(2)]
			if !startInjected(t, s, injection{calls, "error=" + errno, when, false}) {
				ended++
			}
			s.start(t)
			must.Do(t, l.Check(readAll(t, s.addr())))
			s.crash(t, rnd)
		}
	}
	checkStore(t, s.dir())
	if ended == 0 {
		t.Error("no start has failed: nothing has been tried")
	}
}

// startInjected starts a serve, kills it if it serves, and reports whether it served.
func startInjected(t *testing.T, s *serve, i injection) (served bool) {
	t.Helper()
	// Leave the calls alone that the system makes on other files to start a program.
	rest := []string{"-D", "-qq", "-P", s.dir()}
	files, err := filepath.Glob(filepath.Join(s.dir(), "*_*"))
	must.Do(t, err)
	for _, file := range files {
		rest = append(rest, "-P", file)
	}
	cmd, _ := straceCommand(t, i, append(append(rest, "--"), s.command().Args...)...)
	var said string
	s.process, said = daemontest.Foreground(t, cmd)
	text := ""
	must.Eventually(t, "ready or ended", func() bool {
		read, err := os.ReadFile(said)
		must.Do(t, err)
		text = string(read)
		return strings.Contains(text, "msg=ready") || hasEnded(s.process)
	})
	if strings.Contains(text, "msg=ready") {
		s.crash(t, nil)
		return true
	}
	status := s.process.Wait(t)
	s.process = nil
	if read, err := os.ReadFile(said); err != nil || !status.Exited() || status.ExitStatus() != 1 || !strings.Contains(string(read), errnoText(i)) {
		t.Errorf("%v: the start ends with status %#x, and says %q, %v; want %q", i, status, read, err, errnoText(i))
	}
	return false
}

// errnoText returns the error text of an injected error.
func errnoText(i injection) string {
	return map[string]error{"EIO": unix.EIO, "EROFS": unix.EROFS, "EMFILE": unix.EMFILE, "EFBIG": unix.EFBIG,
		"ENOSPC": unix.ENOSPC, "EDQUOT": unix.EDQUOT}[strings.TrimPrefix(i.what, "error=")].Error()
}

// hasEnded reports whether a child of this process has ended, whether or not it has been waited
// for.
func hasEnded(d *daemontest.Daemon) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", d.Pid))
	if err != nil {
		return true
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	return strings.HasPrefix(rest, "Z")
}

// endsOrServes waits until the kvlds has ended or made a change. It reports whether it has ended.
func (d *daemons) endsOrServes(t *testing.T) (ended bool) {
	t.Helper()
	must.Eventually(t, "a change is made, or the daemons end", func() bool {
		if ended = hasEnded(d.kvlds); ended {
			return true
		}
		c, err := kvtest.Dial(t.Context(), d.addr())
		if err != nil {
			return false
		}
		defer c.Close()
		return c.Set("key", "value") == nil
	})
	return ended
}

// TestDaemonsInjected makes system calls of the daemons' block store fail. Either both daemons exit
// with status 1 and say why, or they did not need the call. Everything acknowledged must be there
// after a restart.
func TestDaemonsInjected(t *testing.T) {
	t.Parallel()
	eachInjection(t, func(t *testing.T, i injection, rnd *rand.Rand) {
		d := newDaemons(t, 512, "-C", "1024", "-S", "10000")
		d.start(t)
		l := kvtest.NewLoad(rnd, "load")
		tr := inject(t, d.lbs, i)
		runUntilHit(t, d.addr(), l, tr)
		tr.mustHit(t)
		if d.endsOrServes(t) {
			for _, one := range []*daemontest.Daemon{d.kvlds, d.lbs} {
				if status := one.Wait(t); !status.Exited() || status.ExitStatus() != 1 {
					t.Errorf("a daemon has ended with status %#x", status)
				}
			}
			if said := d.log(t); !strings.Contains(said, errnoText(i)) {
				t.Errorf("the daemons have ended, and said %q; want %q", said, errnoText(i))
			}
			tr.process.Wait(t)
		} else {
			tr.over(t)
			d.lbs.Kill()
			d.kvlds.Kill()
			d.lbs.Wait(t)
			d.kvlds.Wait(t)
		}
		d.kvlds, d.lbs = nil, nil
		d.start(t)
		must.Do(t, l.Check(readAll(t, d.addr())))
		must.Do(t, connect(t, d.addr()).Set("key", "value"))
		d.stop(t)
		checkStore(t, d.dir())
	})
}

// runUntilHit runs a load until the server closes its connection, or for a while after a fault.
func runUntilHit(t *testing.T, addr string, l *kvtest.Load, tr *tracer) {
	t.Helper()
	wait := patience
	if daemontest.Torture() {
		wait = noFault
	}
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx, addr) }()
	for {
		select {
		case err := <-ended:
			must.Do(t, err)
			return
		case <-time.After(5 * time.Millisecond):
			if tr.hit(t) {
				time.AfterFunc(afterFault, cancel)
				must.Do(t, <-ended)
				return
			}
		}
	}
}

// changes reports whether a change succeeds.
func changes(t *testing.T, addr string) bool {
	t.Helper()
	c, err := kvtest.Dial(t.Context(), addr)
	must.Do(t, err)
	defer c.Close()
	err = c.Set("room", "again")
	if err != nil && !wiretest.Lost(err) {
		t.Fatal(err)
	}
	return err == nil
}

// openDescriptors returns how many descriptors a process has open.
func openDescriptors(t *testing.T, d *daemontest.Daemon) int {
	t.Helper()
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", d.Pid))
	must.Do(t, err)
	return len(list)
}
