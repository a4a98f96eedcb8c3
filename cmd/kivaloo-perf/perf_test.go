package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"kivaloo"
	"kivaloo/cmd/internal/daemon/daemontest"
	"kivaloo/internal/must"
	"kivaloo/wire"
)

// TestBothServices measures a key-value server and a block store, each through a monitor of its
// own.
func TestBothServices(t *testing.T) {
	blocks, pairs := newPlace(t), newPlace(t)
	must.Do(t, os.Mkdir(blocks.path("d"), 0o700))
	daemontest.Start(t, string(blocks), "t.pid", daemontest.Program("kivaloo-lbs"),
		"-s", blocks.path("t"), "-d", blocks.path("d"), "-b", "512", "-L")
	below := blocks.start(t, "-1", "-w86400")
	kvlds := daemontest.Start(t, string(pairs), "t.pid", daemontest.Program("kivaloo-kvlds"),
		"-s", pairs.path("t"), "-l", blocks.path("s"), "-1")
	above := pairs.start(t, "-1", "-w", "86400")

	c, err := kivaloo.Dial(t.Context(), pairs.path("s"), kivaloo.DialOptions{})
	must.Do(t, err)
	p := c.Pipeline(t.Context())
	for i := range 10_000 {
		must.Do(t, p.Set(fmt.Append(nil, i), []byte("value")))
	}
	must.Do(t, p.Wait())
	for i := range 10_000 {
		must.Do(t, p.Get(fmt.Append(nil, i), func(value []byte, found bool) {
			if string(value) != "value" {
				t.Errorf("%d is %q", i, value)
			}
		}))
	}
	must.Do(t, p.Wait())
	found := 0
	for _, err := range c.Range(t.Context(), nil, nil) {
		must.Do(t, err)
		found++
	}
	if found != 10_000 {
		t.Errorf("found %d pairs", found)
	}
	must.Do(t, c.Delete(t.Context(), []byte("0")))
	must.Do(t, c.Close())

	// Each ends with its only connection, and so does the next.
	for _, d := range []*daemontest.Daemon{above, kvlds, below} {
		if status := d.Wait(t); status != 0 {
			t.Errorf("ended with %#x", status)
		}
	}
	lines := parseLog(t, pairs.read(t, "log"))
	if got := counts(lines); got != "KVLDS_DELETE:1 KVLDS_GET:10000 KVLDS_PARAMS:1 KVLDS_RANGE:1 KVLDS_SET:10000" {
		t.Errorf("counted %s", got)
	}
	for _, e := range lines[len(lines)-1] {
		median, p99, most := e.ms[1], e.ms[2], e.ms[3]
		if !(median <= p99 && p99 <= most && e.ms[0] <= most && most > 0 && most < 1000*patience.Seconds()) {
			t.Errorf("%+v", e)
		}
	}
	if got := counts(parseLog(t, blocks.read(t, "log"))); !strings.HasPrefix(got, "LBS_APPEND:") || !strings.HasSuffix(got, "LBS_PARAMS2:1") {
		t.Errorf("counted %s", got)
	}
}

// TestWindowsAndRotation checks lines for windows with and without requests, while the log is
// renamed. Every request must be in one of them.
func TestWindowsAndRotation(t *testing.T) {
	p := newPlace(t)
	p.startTarget(t, echo)
	m := p.start(t, "-w", "1")
	c := p.connect(t)
	sent := 0
	send := func() {
		c.send(t, 7, []byte{0, 0, 1, 0x10})
		c.want(t, 7, []byte{0, 0, 1, 0x10})
		sent++
	}
	lines := func(name string) int {
		b, _ := os.ReadFile(p.path(name))
		return bytes.Count(b, []byte("\n"))
	}
	send()
	must.Eventually(t, "there are two lines", func() bool { return lines("log") >= 2 })
	must.Do(t, os.Rename(p.path("log"), p.path("log.0")))
	send()
	must.Eventually(t, "there is a new log with a line", func() bool { return lines("log") >= 1 })
	send()
	must.Do(t, c.Close())
	n := lines("log")
	must.Eventually(t, "there is another line", func() bool { return lines("log") > n })

	old := parseLog(t, p.read(t, "log.0"))
	m.Kill()
	m.Wait(t)
	all := append(old, parseLog(t, p.read(t, "log"))...)
	if got := counts(all); got != fmt.Sprintf("KVLDS_SET:%d", sent) {
		t.Errorf("counted %s, sent %d", got, sent)
	}
	if !slices.ContainsFunc(all, func(line []entry) bool { return len(line) == 0 }) {
		t.Errorf("no line for a window without requests: %v", all)
	}
	stamp, err := time.Parse(time.DateTime, p.read(t, "log.0")[:len(time.DateTime)])
	if age := time.Since(stamp); err != nil || age < 0 || age > 2*patience {
		t.Errorf("%v, %v", stamp, err)
	}
}

// TestAnyRecords checks that the monitor accepts any record, and that answers have the client's
// IDs.
func TestAnyRecords(t *testing.T) {
	p := newPlace(t)
	p.startTarget(t, echo)
	m := p.start(t, "-1", "-w", "86400")
	c := p.connect(t)
	rng := rand.New(rand.NewPCG(1, 2))
	large := make([]byte, 3<<20)
	for i := range large {
		large[i] = byte(rng.Uint32())
	}
	for _, id := range []uint64{0, 5, 5, math.MaxUint64} {
		c.send(t, id, []byte{0xde, 0xad, 0xbe, 0xef, 1})
		c.want(t, id, []byte{0xde, 0xad, 0xbe, 0xef, 1})
	}
	records := [][]byte{{}, {1}, {0, 0, 1}, large, {0, 0, 0, 1}, large[:longRecordBytes], large[:longRecordBytes-1]}
	copy(large, []byte{0, 0, 0, 2}) // the only type whose records have no maximum length
	done := make(chan struct{})
	go func() { // in one write, which lasts until it is read
		defer close(done)
		c.send(t, 100, records...)
	}()
	for i, r := range records {
		c.want(t, 100+uint64(i), r)
	}
	<-done
	must.Do(t, c.Close())
	if status := m.Wait(t); status != 0 {
		t.Errorf("ended with %#x", status)
	}
	// LBS_GET, LBS_APPEND, then deadbeef, then those without a type.
	lines := parseLog(t, p.read(t, "log"))
	last := lines[len(lines)-1]
	if counts(lines) != "LBS_APPEND:3 LBS_GET:1 UNKNOWN:7" || len(last) != 4 || last[2].n != 4 || last[3].n != 3 {
		t.Errorf("logged %+v", lines)
	}
}

func TestTargetLost(t *testing.T) {
	for _, c := range []struct {
		name    string
		request bool // one is outstanding
		lost    func(f *fakeTarget)
		answer  func([]byte) ([]byte, error)
	}{
		{name: "idle", lost: (*fakeTarget).hangUp, answer: echo},
		{name: "asked", request: true,
			answer: func([]byte) ([]byte, error) { return nil, io.EOF }},
		{name: "waiting", request: true, lost: (*fakeTarget).hangUp,
			answer: func([]byte) ([]byte, error) { return nil, nil }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t)
			f := p.startTarget(t, c.answer)
			cmd := exec.Command(daemontest.Program("kivaloo-perf"), p.args("-w", "86400", "--foreground")...)
			cmd.Dir = string(p)
			d, said := daemontest.Foreground(t, cmd)
			must.Eventually(t, "it serves", func() bool { _, err := os.Stat(p.path("s.pid")); return err == nil })
			client := p.connect(t)
			if c.request {
				client.send(t, 1, []byte{0, 0, 1, 0x30, 0}, []byte{0, 0, 1, 0x30, 0})
				must.Eventually(t, "the request arrives", func() bool { return f.received.Load() > 0 })
			}
			must.Eventually(t, "the target is connected", f.connected)
			if c.lost != nil {
				c.lost(f)
			}
			client.wantClosed(t)
			if status := d.Wait(t); status.ExitStatus() != 1 {
				t.Errorf("ended with %v", status)
			}
			b, err := os.ReadFile(said)
			want := "kivaloo-perf: the target at " + p.path("t") + " is lost: "
			if err != nil || !strings.HasPrefix(string(b), want) || strings.Count(string(b), "\n") != 1 {
				t.Errorf("said %q, %v", b, err)
			}
			counted := ""
			if c.request {
				counted = "KVLDS_GET:2"
			}
			if got := counts(parseLog(t, p.read(t, "log"))); got != counted {
				t.Errorf("counted %q, want %q", got, counted)
			}
		})
	}
}

// TestTargetAnswersNonsense checks that an answer with an unknown ID ends the monitor, as the loss
// of the target does.
func TestTargetAnswersNonsense(t *testing.T) {
	p := newPlace(t)
	ln, err := net.Listen("unix", p.path("t"))
	must.Do(t, err)
	defer ln.Close()
	m := p.start(t)
	nc, err := ln.Accept()
	must.Do(t, err)
	defer nc.Close()
	_, err = nc.Write(wire.AppendPacket(nil, 12345, nil))
	must.Do(t, err)
	if status := m.Wait(t); status.ExitStatus() != 1 {
		t.Errorf("ended with %v", status)
	}
}

// TestClientsTakeTurns serves one client at a time. Whatever it does, neither the target nor the
// next client is affected.
func TestClientsTakeTurns(t *testing.T) {
	p := newPlace(t)
	slow := make(chan struct{})
	p.startTarget(t, func(record []byte) ([]byte, error) {
		if string(record) == "slow" {
			<-slow
		}
		return record, nil
	})
	m := p.start(t)
	first, second := p.connect(t), p.connect(t)
	second.send(t, 2, []byte("second"))
	first.send(t, 1, []byte("slow"))
	// A client that has closed its sending side gets its answer before the next one is served.
	must.Do(t, first.CloseWrite())
	close(slow)
	first.want(t, 1, []byte("slow"))
	first.wantClosed(t)
	second.want(t, 2, []byte("second"))

	// A bad packet after a good one.
	third := p.connect(t)
	bad := wire.AppendPacket(wire.AppendPacket(nil, 3, []byte("good")), 4, []byte("bad"))
	bad[len(bad)-1] ^= 1
	_, err := third.Write(bad)
	must.Do(t, err)
	second.Close()
	third.want(t, 3, []byte("good"))
	third.wantClosed(t)

	// A client that requests much and leaves.
	fourth := p.connect(t)
	fourth.send(t, 0, bytes.Split(bytes.Repeat([]byte("and another "), 3000), []byte(" "))...)
	fourth.Close()
	fifth := p.connect(t)
	fifth.send(t, 5, []byte("fifth"))
	fifth.want(t, 5, []byte("fifth"))

	m.Signal(t, syscall.SIGTERM)
	fifth.wantClosed(t)
	if status := m.Wait(t); status.Signal() != syscall.SIGTERM {
		t.Errorf("ended with %v", status)
	}
	if log := p.read(t, "log"); strings.Count(log, "\n") > 1 { // one, if a minute has ended meanwhile
		t.Errorf("being stopped is no reason to log, but there is %q", log)
	}
}

// TestClientThatDoesNotRead checks that the monitor's memory does not grow if a client requests
// much and reads nothing. The monitor stops reading its requests. They are answered once the client
// reads.
func TestClientThatDoesNotRead(t *testing.T) {
	p := newPlace(t)
	block := make([]byte, 128<<10)
	f := p.startTarget(t, func([]byte) ([]byte, error) { return block, nil })
	p.start(t)
	c := p.connect(t)
	const requests = 150
	get := wire.AppendLBSRequest(nil, &wire.LBSRequest{Type: wire.TypeLBSGet, Block: 7})
	c.send(t, 0, slices.Repeat([][]byte{get}, requests)...)
	before := int64(-1)
	must.Eventually(t, "no more requests are passed on", func() bool {
		time.Sleep(100 * time.Millisecond)
		now := f.received.Load()
		same := now == before && now > 0
		before = now
		return same
	})
	if before > 50 {
		t.Errorf("%d requests for 128 KiB each were passed on", before)
	}
	for i := range requests {
		c.want(t, uint64(i), block)
	}
}

func TestRefusedStarts(t *testing.T) {
	run := func(p place, args ...string) daemontest.Result {
		return daemontest.Run(t, string(p), daemontest.Program("kivaloo-perf"), args...)
	}
	for args, says := range map[string]string{
		"":                         "option is missing -- -s",
		"-s a -t b":                "option is missing -- -l",
		"-s a -l b":                "option is missing -- -t",
		"-s a -t b -l c -w 0":      "option -w: out of range: 0 is not between 1 and 86400",
		"-s a -t b -l c -w 86401":  "option -w: out of range",
		"-s a -t b -l c -w -1":     "option -w: out of range",
		"-s a -t b -l c -w NaN":    "option -w: not a number",
		"-s a -t b -l c -w inf":    "option -w: not a number",
		"-s a -t b -l c -w 1 -w 2": "option given twice -- -w",
		"-s a -t b -l c -n 1":      "illegal option -- -n",
		"-s a -t b -l c":           `address "b": no port`,
		"-s a -t /b -l c":          `address "a": no port`,
	} {
		p := newPlace(t)
		if r := run(p, strings.Fields(args)...); r.Status.ExitStatus() != 1 || !strings.HasPrefix(r.Output, "kivaloo-perf: "+says) {
			t.Errorf("%s: status %v, said %q", args, r.Status, r.Output)
		}
	}

	// Without a target, the socket's file exists and the log does not.
	p := newPlace(t)
	if r := run(p, p.args()...); r.Status.ExitStatus() != 1 || !strings.Contains(r.Output, "connect to "+p.path("t")) {
		t.Errorf("no target: status %v, said %q", r.Status, r.Output)
	}
	if _, err := os.Lstat(p.path("s")); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(p.path("log")); !errors.Is(err, os.ErrNotExist) {
		t.Error("there is a log")
	}
	// The socket exists already.
	p.startTarget(t, echo)
	if r := run(p, p.args()...); r.Status.ExitStatus() != 1 || !strings.Contains(r.Output, "address already in use") {
		t.Errorf("stale socket: status %v, said %q", r.Status, r.Output)
	}
	// The log is not a file.
	must.Do(t, os.Remove(p.path("s")))
	must.Do(t, os.Mkdir(p.path("log"), 0o700))
	if r := run(p, p.args()...); r.Status.ExitStatus() != 1 || !strings.Contains(r.Output, "open the log: ") {
		t.Errorf("log is a directory: status %v, said %q", r.Status, r.Output)
	}
}

// TestTimes checks that times are measured from sending to receiving, and that the maximum is that
// of the slowest request.
func TestTimes(t *testing.T) {
	p := newPlace(t)
	const wait = 30 * time.Millisecond
	p.startTarget(t, func(record []byte) ([]byte, error) {
		if record[3] == 0x10 {
			time.Sleep(wait)
		}
		return record, nil
	})
	m := p.start(t, "-1")
	c := p.connect(t)
	began := time.Now()
	for _, typ := range []byte{0x30, 0x10, 0x30} {
		c.send(t, 1, []byte{0, 0, 1, typ})
		c.want(t, 1, []byte{0, 0, 1, typ})
	}
	took := time.Since(began)
	must.Do(t, c.Close())
	m.Wait(t)
	least := float64(wait.Milliseconds())
	for _, line := range parseLog(t, p.read(t, "log")) {
		for _, e := range line {
			slow := e.name == "KVLDS_SET"
			if slow && e.ms[0] < least || e.ms[3] > float64(took.Milliseconds())+1 || slow && e.ms[0] != e.ms[3] {
				t.Errorf("%+v, all took %v", e, took)
			}
		}
	}
}
