package blackbox

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"kivaloo/cmd/internal/blackbox/kvtest"
	"kivaloo/cmd/internal/daemon/daemontest"
	"kivaloo/internal/must"
	"kivaloo/wire"
)

// debugURL matches what a program started with --debug-addr says about it.
var debugURL = regexp.MustCompile(`url=(http://127\.0\.0\.1:\d+)/`)

// looking is the debug address of a program.
type looking struct {
	url    string
	client *http.Client
}

// lookInto finds the debug address in the output of a program.
func lookInto(t *testing.T, said string) *looking {
	t.Helper()
	found := debugURL.FindStringSubmatch(said)
	if found == nil {
		t.Fatalf("no address to look in: %s", said)
	}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &looking{found[1], &http.Client{Transport: transport, Timeout: patience}}
}

// get returns the status and the body of a page.
func (l *looking) get(t *testing.T, path string) (int, string) {
	t.Helper()
	answer, err := l.client.Get(l.url + path)
	must.Do(t, err)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	must.Do(t, err)
	return answer.StatusCode, string(body)
}

// want checks the status of a page and that it has these lines. It returns the page.
func (l *looking) want(t *testing.T, path string, status int, lines ...string) string {
	t.Helper()
	got, body := l.get(t, path)
	if got != status {
		t.Errorf("%s: status %d, want %d: %.200s", path, got, status, body)
	}
	for _, line := range lines {
		if !strings.Contains("\n"+body, "\n"+line+"\n") {
			t.Errorf("%s: no line %q", path, line)
		}
	}
	return body
}

// traffic makes a known number of requests of each kind.
func traffic(t *testing.T, addr string) {
	t.Helper()
	c := connect(t, addr)
	for i := range 20 {
		must.Do(t, c.Set(fmt.Sprintf("key %02d", i), "value"))
	}
	for i := range 30 { // 10 of them are absent
		_, err := c.Get(fmt.Sprintf("key %02d", i))
		must.Do(t, err)
	}
	for _, r := range []wire.KVRequest{
		{Type: wire.TypeAdd, Key: []byte("key 00")},
		{Type: wire.TypeAdd, Key: []byte("new")},
		{Type: wire.TypeModify, Key: []byte("none")},
		{Type: wire.TypeCAS, Key: []byte("new"), Old: []byte("wrong")},
		{Type: wire.TypeDelete, Key: []byte("new")},
		{Type: wire.TypeCAD, Key: []byte("key 01"), Old: []byte("value")},
		{Type: wire.TypeRange, Max: 1000},
		{Type: wire.TypeParams},
	} {
		_, err := c.Ask(&r)
		must.Do(t, err)
	}
}

// trafficCounts is what a tree reports after traffic.
var trafficCounts = []string{
	`kivaloo_requests_total{op="set",status="ok"} 20`,
	`kivaloo_requests_total{op="get",status="ok"} 20`,
	`kivaloo_requests_total{op="get",status="not_done"} 10`,
	`kivaloo_requests_total{op="add",status="ok"} 1`,
	`kivaloo_requests_total{op="add",status="not_done"} 1`,
	`kivaloo_requests_total{op="modify",status="not_done"} 1`,
	`kivaloo_requests_total{op="modify",status="ok"} 0`,
	`kivaloo_requests_total{op="cas",status="not_done"} 1`,
	`kivaloo_requests_total{op="delete",status="ok"} 1`,
	`kivaloo_requests_total{op="cad",status="ok"} 1`,
	`kivaloo_requests_total{op="range",status="ok"} 1`,
	`kivaloo_requests_total{op="set",status="failed"} 0`,
	"kivaloo_commit_duration_seconds_count 23",
	"kivaloo_commits_total 23",
	"kivaloo_commit_changes_count 23",
	"kivaloo_commit_changes_sum 23",
	"kivaloo_queue_duration_seconds_count 27", // a lone GET of a page in memory does not wait for the tree
	"kivaloo_disk_duration_seconds_count 23",
	"kivaloo_cache_misses_total 0",
	"kivaloo_connections 1",
	"kivaloo_snapshots 0",
	"kivaloo_ready 1",
	"kivaloo_read_only 0",
}

// TestServeLetsLookIn checks that what serve reports matches what it was asked.
func TestServeLetsLookIn(t *testing.T) {
	t.Parallel()
	s := newServe(t, "--storage-cost", "0", "--debug-addr", "127.0.0.1:0", "--flight-recorder")
	s.start(t)
	traffic(t, s.addr())
	l := lookInto(t, s.said(t))
	l.want(t, "/metrics", 200, trafficCounts...)
	must.Eventually(t, "all writes are counted", func() bool { // the last one is counted after its client got the answer
		_, text := l.get(t, "/metrics")
		return strings.Contains(text, "\nkivaloo_write_duration_seconds_count 58\n")
	})
	l.want(t, "/livez", 200, "alive")
	l.want(t, "/readyz", 200, "ready")
	for path, text := range map[string]string{
		"/":                                     "<title>kivaloo</title>",
		"/debug/pprof/":                         "goroutine",
		"/debug/pprof/goroutine?debug=1":        `"actor":"tree"`,
		"/debug/pprof/heap":                     "\x1f\x8b",
		"/debug/pprof/profile?seconds=1":        "\x1f\x8b",
		"/debug/pprof/trace?seconds=0.1":        "go 1.",
		"/debug/flightrecording":                "go 1.",
		"/debug/pprof/mutex?debug=1":            "mutex",
		"/debug/pprof/threadcreate?debug=1":     "threadcreate",
		"/debug/pprof/block?debug=1":            "contention",
		"/debug/pprof/allocs?debug=1&x=ignored": "heap profile",
	} {
		if page := l.want(t, path, 200); !strings.Contains(page, text) {
			t.Errorf("%s: no %q in %.100q", path, text, page)
		}
	}
	must.Eventually(t, "kivaloo top shows what was done", func() bool {
		r := kivaloo(t, "", "top", l.url, "-n", "1")
		if r.status != 0 {
			t.Fatalf("top: status %#x, said %q", r.status, r.stderr)
		}
		return regexp.MustCompile(`get +not_done +\d+ +10\n`).MatchString(r.out)
	})
	s.stop(t)
	if _, err := l.client.Get(l.url + "/livez"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("after the end: %v", err)
	}
}

// TestServeIsNotReadyOnAFullDisk checks that serve is alive but not ready while nothing can be made
// durable.
func TestServeIsNotReadyOnAFullDisk(t *testing.T) {
	t.Parallel()
	s := newServe(t, "--block-size", "512", "--storage-cost", "0", "--cache", "1M", "--debug-addr", "127.0.0.1:0")
	makeRoom := mountSmallDisk(t, s.dir())
	s.start(t)
	l := lookInto(t, s.said(t))
	l.want(t, "/readyz", 200, "ready")
	hoard(t, s.addr())
	ready := func() bool {
		status, _ := l.get(t, "/readyz")
		return status == http.StatusOK
	}
	n := 0
	change := func() error {
		c, err := kvtest.Dial(t.Context(), s.addr())
		must.Do(t, err)
		defer c.Close()
		for range 100 {
			n++
			if err := c.Set("key", fmt.Sprint(n)); err != nil {
				return err
			}
		}
		return nil
	}
	must.Eventually(t, "not ready", func() bool { return change() != nil && !ready() })
	l.want(t, "/livez", 200, "alive")
	if text := l.want(t, "/metrics", 200); !regexp.MustCompile(`\{op="set",status="failed"\} [1-9]`).MatchString(text) {
		t.Error("no change is said to have failed")
	}
	makeRoom()
	must.Eventually(t, "ready again", func() bool { return change() == nil && ready() })
}

// TestDaemonsLetLookIn checks the debug addresses of the daemons.
func TestDaemonsLetLookIn(t *testing.T) {
	t.Parallel()
	place := daemontest.Place(t)
	must.Do(t, os.Mkdir(filepath.Join(place, "d"), 0o700))
	start := func(name string, options ...string) (l *looking) {
		t.Helper()
		cmd := exec.Command(daemontest.Program(name), append(options, "-s", filepath.Join(place, name), "--foreground", "--debug-addr", "127.0.0.1:0")...)
		cmd.Dir = place
		d, stderr := daemontest.Foreground(t, cmd)
		said := ""
		must.Eventually(t, name+" serves", func() bool {
			text, err := os.ReadFile(stderr)
			must.Do(t, err)
			said = string(text)
			if !alive(d) {
				t.Fatalf("%s has ended: %s", name, said)
			}
			_, err = os.Stat(filepath.Join(place, name+".pid"))
			return err == nil && debugURL.MatchString(said)
		})
		l = lookInto(t, said)
		must.Eventually(t, name+" is ready", func() bool {
			status, _ := l.get(t, "/readyz")
			return status == http.StatusOK
		})
		return l
	}
	lbs := start("kivaloo-lbs", "-d", "d", "-b", "2048")
	kvlds := start("kivaloo-kvlds", "-l", filepath.Join(place, "kivaloo-lbs"), "-S", "0")
	traffic(t, filepath.Join(place, "kivaloo-kvlds"))
	kvlds.want(t, "/metrics", 200, trafficCounts...)
	lbs.want(t, "/metrics", 200, "kivaloo_fsync_duration_seconds_count 24", "kivaloo_connections 1", "kivaloo_ready 1",
		`kivaloo_requests_total{op="append",status="ok"} 24`, `kivaloo_requests_total{op="append",status="not_done"} 0`)
	for _, l := range []*looking{lbs, kvlds} {
		l.want(t, "/livez", 200, "alive")
		l.want(t, "/stats.json", 200)
		if page := l.want(t, "/debug/pprof/goroutine?debug=1", 200); !strings.Contains(page, "goroutine profile") {
			t.Errorf("no profile: %.100s", page)
		}
	}
}

// TestDebugAddressIsLoopback checks that an address that other machines can reach is refused before
// anything is touched, unless it is requested.
func TestDebugAddressIsLoopback(t *testing.T) {
	t.Parallel()
	place := daemontest.Place(t)
	before := treeHash(t, place)
	for name, options := range map[string][]string{
		"kivaloo":       {"serve", "--dir", "d"},
		"kivaloo-lbs":   {"-s", "/none/s", "-d", "d", "-b", "512", "--foreground"},
		"kivaloo-kvlds": {"-s", "/none/s", "-l", "/none/l", "--foreground"},
	} {
		cmd := exec.CommandContext(t.Context(), daemontest.Program(name), append(options, "--debug-addr", "0.0.0.0:0")...)
		cmd.Dir = place
		r := runCommand(t, cmd)
		r.want(t, 1, "", "--insecure-debug")
		if !strings.Contains(r.stderr, "can be reached from other machines") {
			t.Errorf("%s does not say why: %s", name, r.stderr)
		}
	}
	if treeHash(t, place) != before {
		t.Error("something has been touched")
	}
	s := newServe(t, "--debug-addr", "0.0.0.0:0", "--insecure-debug")
	s.start(t)
	s.stop(t)
}
