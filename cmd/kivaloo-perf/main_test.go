package main

import (
	"bytes"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kivaloo/cmd/internal/daemon/daemontest"
	"kivaloo/internal/must"
	"kivaloo/wire"
	"kivaloo/wire/wiretest"
)

func TestMain(m *testing.M) { daemontest.Main(m, ".", "../kivaloo-lbs", "../kivaloo-kvlds") }

// patience bounds every wait. It is long enough for busy machines.
const patience = 60 * time.Second

// place is a directory for everything that a test needs. Its path is short, because the paths of
// sockets are limited.
type place string

func newPlace(t *testing.T) place {
	t.Helper()
	dir := daemontest.Place(t)
	return place(dir)
}

func (p place) path(name string) string { return filepath.Join(string(p), name) }

// args returns a monitor's command line for this place, followed by options.
func (p place) args(options ...string) []string {
	return append([]string{"-t", p.path("t"), "-s", p.path("s"), "-l", p.path("log")}, options...)
}

// start starts a monitor of the target at t.
func (p place) start(t *testing.T, options ...string) *daemontest.Daemon {
	t.Helper()
	return daemontest.Start(t, string(p), "s.pid", daemontest.Program("kivaloo-perf"), p.args(options...)...)
}

// read returns the content of a file.
func (p place) read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(p.path(name))
	must.Do(t, err)
	return string(b)
}

// entry is a line's entry for one type.
type entry struct {
	name string
	n    int
	ms   [4]float64 // mean, median, 99th percentile, maximum
}

var (
	lineForm  = regexp.MustCompile(`^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d((?:\|[A-Z0-9_]+\|\d{6,}(?:\|\d{4,}\.\d{3}){4})*)$`)
	entryForm = regexp.MustCompile(`\|([A-Z0-9_]+)\|(\d+)\|([0-9.]+)\|([0-9.]+)\|([0-9.]+)\|([0-9.]+)`)
)

// parseLog returns the entries of a log, one slice for each line. Every line must have the right
// format.
func parseLog(t *testing.T, log string) (lines [][]entry) {
	t.Helper()
	if log != "" && !strings.HasSuffix(log, "\n") {
		t.Errorf("the last line is not ended: %q", log)
	}
	for line := range strings.Lines(log) {
		m := lineForm.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		if m == nil {
			t.Errorf("not the form of a line: %q", line)
			continue
		}
		var entries []entry
		for _, f := range entryForm.FindAllStringSubmatch(m[1], -1) {
			e := entry{name: f[1]}
			e.n, _ = strconv.Atoi(f[2])
			for i := range e.ms {
				e.ms[i], _ = strconv.ParseFloat(f[3+i], 64)
			}
			entries = append(entries, e)
		}
		lines = append(lines, entries)
	}
	return lines
}

// counts adds up the counts of each type in all lines, as "NAME:count NAME:count", sorted.
func counts(lines [][]entry) string {
	sum := map[string]int{}
	for _, line := range lines {
		for _, e := range line {
			sum[e.name] += e.n
		}
	}
	var all []string
	for _, name := range slices.Sorted(maps.Keys(sum)) {
		all = append(all, fmt.Sprintf("%s:%d", name, sum[name]))
	}
	return strings.Join(all, " ")
}

// conn is a connection that carries packets.
type conn struct{ *wiretest.Conn }

// connect connects to the monitor.
func (p place) connect(t *testing.T) conn {
	t.Helper()
	c, err := wiretest.Dial(t.Context(), p.path("s"))
	must.Do(t, err)
	t.Cleanup(func() { c.Close() })
	return conn{c}
}

// send sends requests in one write, with IDs from first on.
func (c conn) send(t *testing.T, first uint64, records ...[]byte) {
	t.Helper()
	var out []byte
	for i, r := range records {
		out = wire.AppendPacket(out, first+uint64(i), r)
	}
	must.Do(t, c.Put(out))
}

// want receives an answer and checks it.
func (c conn) want(t *testing.T, id uint64, record []byte) {
	t.Helper()
	p, err := c.Next()
	if err != nil || p.ID != id || !bytes.Equal(p.Record, record) {
		t.Errorf("answer %d of %d bytes, %v; want %d, %d bytes", p.ID, len(p.Record), err, id, len(record))
	}
}

// wantClosed checks that the connection is closed with nothing more on it.
func (c conn) wantClosed(t *testing.T) {
	t.Helper()
	if p, err := c.Next(); err == nil || os.IsTimeout(err) {
		t.Errorf("answer %d of %d bytes, %v", p.ID, len(p.Record), err)
	}
}

// fakeTarget is a server for one connection whose answers a test chooses.
type fakeTarget struct {
	ln       net.Listener
	received atomic.Int64 // requests
	mu       sync.Mutex
	nc       net.Conn // nil until there is one
}

// startTarget starts a target. answer is called with each request. It returns the record of the
// answer, nil for no answer, or an error to hang up.
func (p place) startTarget(t *testing.T, answer func(record []byte) ([]byte, error)) *fakeTarget {
	t.Helper()
	ln, err := net.Listen("unix", p.path("t"))
	must.Do(t, err)
	f := &fakeTarget{ln: ln}
	var running sync.WaitGroup
	running.Go(func() {
		nc, err := ln.Accept()
		if err != nil {
			return
		}
		f.mu.Lock()
		f.nc = nc
		f.mu.Unlock()
		defer nc.Close()
		c := &wiretest.Conn{Conn: nc}
		for {
			q, err := c.Next()
			if err != nil {
				return
			}
			f.received.Add(1)
			record, err := answer(q.Record)
			if err != nil {
				return
			}
			if record == nil {
				continue
			}
			if _, err := nc.Write(wire.AppendPacket(nil, q.ID, record)); err != nil {
				return
			}
		}
	})
	t.Cleanup(func() {
		ln.Close()
		f.hangUp()
		running.Wait()
	})
	return f
}

// hangUp closes the connection, if there is one.
func (f *fakeTarget) hangUp() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.nc != nil {
		f.nc.Close()
	}
}

// connected reports whether the monitor has connected.
func (f *fakeTarget) connected() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.nc != nil
}

// echo answers with the request.
func echo(record []byte) ([]byte, error) { return record, nil }
