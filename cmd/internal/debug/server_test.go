package debug

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime/trace"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"kivaloo/actors"
	"kivaloo/disk"
	"kivaloo/disk/simfs"
	"kivaloo/eventloop"
	"kivaloo/internal/must"
	"kivaloo/tree"
)

// looked is a debug server for a test, with a client.
type looked struct {
	*Server
	t      *testing.T
	client *http.Client
}

func look(t *testing.T) *looked {
	t.Helper()
	return lookWith(t, 0)
}

// lookWith is look with another patience with the tree.
func lookWith(t *testing.T, patience time.Duration) *looked {
	t.Helper()
	s, err := Start(Options{
		Addr: "127.0.0.1:0", Program: "test", Version: "1", Log: slog.New(slog.DiscardHandler), patience: patience,
	})
	must.Do(t, err)
	transport := &http.Transport{}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		s.Close()
	})
	return &looked{s, t, &http.Client{Transport: transport, Timeout: time.Minute}}
}

// get returns the status and the body of a page.
func (l *looked) get(path string) (int, string) {
	l.t.Helper()
	answer, err := l.client.Get("http://" + l.Addr() + path)
	must.Do(l.t, err)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	must.Do(l.t, err)
	return answer.StatusCode, string(body)
}

// want checks a page's status, and that it contains all texts. It returns the page.
func (l *looked) want(path string, status int, texts ...string) string {
	l.t.Helper()
	got, body := l.get(path)
	if got != status {
		l.t.Errorf("%s: status %d, want %d: %.200s", path, got, status, body)
	}
	for _, text := range texts {
		if !strings.Contains(body, text) {
			l.t.Errorf("%s: no %q in %s", path, text, aboutUs(body))
		}
	}
	return body
}

// ask makes a request with any method, and checks the status of the answer.
func (l *looked) ask(method, path string, status int) {
	l.t.Helper()
	r, err := http.NewRequestWithContext(l.t.Context(), method, "http://"+l.Addr()+path, nil)
	must.Do(l.t, err)
	answer, err := l.client.Do(r)
	must.Do(l.t, err)
	answer.Body.Close()
	if answer.StatusCode != status {
		l.t.Errorf("%s %s: %s, want %d", method, path, answer.Status, status)
	}
}

// aboutUs returns the lines of body that are not about the Go runtime.
func aboutUs(body string) string {
	var ours strings.Builder
	for line := range strings.Lines(body) {
		if !strings.HasPrefix(line, "go_") && !strings.HasPrefix(line, "#") && !strings.Contains(line, "_bucket{") {
			ours.WriteString(line)
		}
	}
	return ours.String()
}

// client ignores answers, and reports when the last one has come.
type client struct {
	tree.Client
	released bool
	done     chan struct{}
}

func (*client) Value(*tree.Request, []byte, bool) {}
func (*client) Done(*tree.Request, bool)          {}
func (*client) Failed(*tree.Request, error)       {}
func (*client) Abandoned() bool                   { return false }
func (c *client) Release(*tree.Batch)             { c.released = true }

func (c *client) Flush() {
	if c.released {
		close(c.done)
	}
}

// breakable is a store whose appends can be made to fail.
type breakable struct {
	disk.Store
	broken chan struct{} // closed: appends fail
	why    error         // the error of failing appends
}

// Info adds free disk space, which a simulated disk does not know.
func (b *breakable) Info() disk.Info {
	info := b.Store.Info()
	info.Room = 1 << 20
	return info
}

func (b *breakable) Submit(first, last *disk.Op) {
	select {
	case <-b.broken:
		if first == last && first.Kind == disk.Append {
			first.Err = b.why
			first.Done.PushOne(first)
			return
		}
	default:
	}
	b.Store.Submit(first, last)
}

// served is a tree with a debug server.
type served struct {
	store *breakable
	actor *tree.Actor
}

func (l *looked) serve() *served {
	l.t.Helper()
	inline, err := disk.OpenInline("store", disk.Options{BlockSize: 512, FS: simfs.New("store"), OnSync: l.OnSync()})
	must.Do(l.t, err)
	s := &served{store: &breakable{inline, make(chan struct{}), errors.New("out of order")}}
	t, err := tree.Open(s.store, tree.Config{})
	must.Do(l.t, err)
	l.inside.measure(t)
	s.actor = tree.NewActor(t, s.store)
	group := actors.NewGroup()
	group.Go("tree", s.actor.Run)
	l.t.Cleanup(func() {
		l.Stopping()
		group.Stop()
		if err := group.Wait(); err != nil {
			l.t.Error(err)
		}
		t.Close()
		s.store.Close()
	})
	gate := eventloop.NewGate(1)
	l.Ready(Serving{Requests: s.actor.Requests(), Gate: gate, Bucket: func() disk.RequestCounts { return disk.RequestCounts{"PUT": {Requests: 1}} }, Scrubbed: func() disk.ScrubStats { return disk.ScrubStats{Damaged: 3} }})
	return s
}

// do executes requests.
func (s *served) do(requests ...tree.Request) {
	c := &client{done: make(chan struct{})}
	s.actor.Requests().PushOne(&tree.Batch{Client: c, Requests: requests, Pushed: s.actor.Now()})
	<-c.done
}

func TestOff(t *testing.T) {
	s, err := Start(Options{})
	if s != nil || err != nil {
		t.Fatalf("without an address: %v, %v", s, err)
	}
	s.Ready(Serving{})
	s.Stopping()
	s.Measure(nil, nil)
	s.Close()
	if s.OnSync() != nil || s.Clock(func() time.Duration { return 0 }) != nil {
		t.Error("something is measured that nobody can look at")
	}
}

func TestAddresses(t *testing.T) {
	for addr, want := range map[string]string{
		"127.0.0.1:0":  "",
		"[::1]:0":      "",
		"localhost:0":  "",
		"0.0.0.0:1":    "--insecure-debug",
		":1":           "--insecure-debug",
		"192.0.2.1:1":  "read what is stored",
		"127.0.0.1":    "not host:port",
		"/run/x.debug": "not host:port",
	} {
		o := Options{Addr: addr}
		got, err := o.resolve()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %q, %v; want an error with %q", addr, got, err, want)
		}
		o.Insecure = true
		if _, err := o.resolve(); want == "--insecure-debug" && err != nil {
			t.Errorf("%s, insecure: %v", addr, err)
		}
	}
}

// TestForeignHost checks that requests are served only under a name of this machine. A foreign page
// can make a browser send others here.
func TestForeignHost(t *testing.T) {
	l := look(t)
	for host, want := range map[string]int{
		"": 200, "localhost:6060": 200, "[::1]:6060": 200, "evil.example": 403, "evil.example:6060": 403, "192.0.2.1": 403,
	} {
		r, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+l.Addr()+"/livez", nil)
		must.Do(t, err)
		r.Host = host
		answer, err := l.client.Do(r)
		must.Do(t, err)
		answer.Body.Close()
		if answer.StatusCode != want {
			t.Errorf("host %q: %s, want %d", host, answer.Status, want)
		}
	}
}

// TestForeignPage checks that requests that a foreign page makes a browser send are refused and not
// executed.
func TestForeignPage(t *testing.T) {
	l := look(t)
	for _, test := range []struct {
		header, value string // with %s for the server's address
		want          int
	}{
		{"Origin", "http://evil.example", 403},
		{"Origin", "http://localhost:1", 403},
		{"Origin", "http://127.0.0.1", 403},
		{"Origin", "https://evil.example:6060", 403},
		{"Origin", "null", 403},
		{"Origin", "http://%s.evil.example", 403},
		{"Origin", "http://%s", 200},
		{"Sec-Fetch-Site", "cross-site", 403},
		{"Sec-Fetch-Site", "same-site", 403}, // another port of this machine
		{"Sec-Fetch-Site", "same-origin", 200},
		{"Sec-Fetch-Site", "none", 200}, // typed in
		{"Referer", "http://evil.example/page", 403},
		{"Referer", "http://%s/", 200},
	} {
		for _, request := range []string{"PUT /debug/flightrecording", "DELETE /debug/flightrecording", "GET /debug/pprof/cmdline"} {
			method, path, _ := strings.Cut(request, " ")
			r, err := http.NewRequestWithContext(t.Context(), method, "http://"+l.Addr()+path, nil)
			must.Do(t, err)
			r.Header.Set(test.header, strings.ReplaceAll(test.value, "%s", l.Addr()))
			answer, err := l.client.Do(r)
			must.Do(t, err)
			answer.Body.Close()
			if (answer.StatusCode == 403) != (test.want == 403) {
				t.Errorf("%s, %s %s: %s, want %d", request, test.header, test.value, answer.Status, test.want)
			}
		}
	}
	l.want("/debug/flightrecording", 409, "does not run")
}

func TestProfiles(t *testing.T) {
	l := look(t)
	l.want("/debug/pprof/", 200, "goroutine", "heap", "mutex", "block")
	l.want("/debug/pprof/goroutine?debug=1", 200, "goroutine profile")
	l.want("/debug/pprof/profile?seconds=1", 200)
	l.want("/debug/pprof/profile?seconds=601", 400, "not within")
	l.want("/debug/pprof/heap?seconds=NaN", 400, "not within")
	l.want("/debug/pprof/cmdline", 200, "debug.test")
	l.want("/nothing", 404)
	const recording = "/debug/flightrecording"
	l.want(recording, 409, "--flight-recorder")
	for _, status := range []int{201, 200} {
		l.ask("PUT", recording, status)
		if text := l.want(recording, 200); !strings.HasPrefix(text, "go 1.") {
			t.Errorf("no recording: %.20q", text)
		}
	}
	l.recorder.mu.Lock()
	l.want(recording, 409, "one at a time")
	l.recorder.mu.Unlock()
	l.ask("DELETE", recording, 200)
	l.ask("DELETE", recording, 200)
	l.want(recording, 409, "--flight-recorder")
}

// TestCloseCutsOff checks that a long profile does not delay Close.
func TestCloseCutsOff(t *testing.T) {
	l := look(t)
	ended := make(chan error, 1)
	go func() {
		answer, err := l.client.Get("http://" + l.Addr() + "/debug/pprof/trace?seconds=500")
		if err == nil {
			_, err = io.Copy(io.Discard, answer.Body)
			answer.Body.Close()
		}
		ended <- err
	}()
	for !trace.IsEnabled() {
		time.Sleep(time.Millisecond)
	}
	l.Close()
	<-ended
	if trace.IsEnabled() {
		t.Error("something is recorded still")
	}
}

func TestHealth(t *testing.T) {
	l := look(t)
	l.want("/livez", 200, "alive")
	l.want("/readyz", 503, "starting")
	s := l.serve()
	s.do(tree.Request{Op: tree.Set, Key: []byte("k")})
	l.want("/readyz", 200, "ready")
	close(s.store.broken)
	s.do(tree.Request{Op: tree.Set, Key: []byte("k"), Value: []byte("v")})
	l.want("/readyz", 503, "read-only", "out of order")
	l.want("/metrics", 200, "kivaloo_read_only 1\n", "kivaloo_out_of_space 0\n", "kivaloo_ready 0\n", `kivaloo_requests_total{op="set",status="failed"} 1`)
	l.Stopping()
	l.want("/readyz", 503, "stopping")
	l.want("/livez", 200, "alive")
}

func TestFullDisk(t *testing.T) {
	l := look(t)
	s := l.serve()
	s.store.why = disk.ErrNoSpace
	close(s.store.broken)
	s.do(tree.Request{Op: tree.Set, Key: []byte("k")})
	l.want("/metrics", 200, "kivaloo_read_only 1\n", "kivaloo_out_of_space 1\n", "kivaloo_ready 0\n")
}

// TestNoTree checks that a program without a tree is ready when it serves, and has no metrics of a
// tree.
func TestNoTree(t *testing.T) {
	l := look(t)
	l.Ready(Serving{Gate: eventloop.NewGate(1)})
	l.want("/readyz", 200)
	if text := l.want("/metrics", 200, "kivaloo_ready 1", "kivaloo_connections 0", "kivaloo_fsync_duration_seconds_count"); strings.Contains(text, "tree_pages") {
		t.Error("there are metrics of a tree")
	}
}

// TestBusyTree checks that a tree that does not answer is not asked repeatedly, and does not delay
// Close.
func TestBusyTree(t *testing.T) {
	l := lookWith(t, 20*time.Millisecond)
	w := actors.NewWaiter()
	mailbox := actors.NewMailbox[tree.Batch](&w.Doorbell) // nothing reads it
	l.Ready(Serving{Requests: mailbox})
	for range 2 {
		l.want("/readyz", 503, "has not answered")
	}
	questions := 0
	for b := mailbox.Drain(); b != nil; b = b.Next() {
		questions++
	}
	if questions != 1 {
		t.Errorf("asked %d times", questions)
	}
}

// TestManyAskABusyTree checks that all requests are told when the tree does not answer, and that
// none waits for all others.
func TestManyAskABusyTree(t *testing.T) {
	const patience, many = time.Second, maxConnections - 2
	l := lookWith(t, patience)
	w := actors.NewWaiter()
	l.Ready(Serving{Requests: actors.NewMailbox[tree.Batch](&w.Doorbell)})
	start := time.Now()
	var group sync.WaitGroup
	for range many {
		group.Go(func() { l.want("/readyz", 503, "has not answered") })
	}
	group.Wait()
	if took := time.Since(start); took > many/2*patience {
		t.Errorf("%d took %v, one after the other", many, took)
	}
}

func TestMetrics(t *testing.T) {
	l := look(t)
	s := l.serve()
	for i := range 3 {
		key := fmt.Appendf(nil, "key %d", i)
		s.do(tree.Request{Op: tree.Set, Key: key, Value: key})
		s.do(tree.Request{Op: tree.Get, Key: key}, tree.Request{Op: tree.Add, Key: key}, tree.Request{Op: tree.Get, Key: []byte("no")})
	}
	text := l.want("/metrics", 200,
		`kivaloo_requests_total{op="set",status="ok"} 3`,
		`kivaloo_requests_total{op="get",status="ok"} 3`,
		`kivaloo_requests_total{op="get",status="not_done"} 3`,
		`kivaloo_requests_total{op="add",status="not_done"} 3`,
		`kivaloo_requests_total{op="cad",status="dropped"} 0`,
		"kivaloo_commit_duration_seconds_count 3\n",
		"kivaloo_disk_duration_seconds_count 3\n",
		"kivaloo_queue_duration_seconds_count 6\n",
		"kivaloo_commit_changes_count 3\n", "kivaloo_commit_changes_sum 3\n",
		`kivaloo_commit_changes_bucket{le="1"} 3`,
		`kivaloo_commit_duration_seconds_bucket{le="1e-06"}`, `le="0.001024"`,
		"kivaloo_cache_hits_total 6\n", "kivaloo_cache_misses_total 0\n",
		"kivaloo_tree_height 0\n", "kivaloo_tree_pages 1\n", "kivaloo_commits_total 3\n", "kivaloo_store_block_bytes 512\n",
		"kivaloo_ready 1\n", "kivaloo_read_only 0\n", "kivaloo_out_of_space 0\n", "kivaloo_flush_put_off 0\n", "kivaloo_store_room_blocks 1.048576e+06\n",
		"go_goroutines ", "process_open_fds ",
	)
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	must.Do(t, err)
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	if n := l.inside.syncs.Read(); n.Total() != 4 { // one for the first page
		t.Errorf("%d syncs", n.Total())
	}
}

// TestReport checks a report of the activity between two samples.
func TestReport(t *testing.T) {
	l := look(t)
	s := l.serve()
	sm := newSampler(l.Server) // nothing else takes samples of this one
	for i := range 10 {
		s.do(tree.Request{Op: tree.Set, Key: []byte{byte(i)}}, tree.Request{Op: tree.Get, Key: []byte{byte(i)}})
	}
	l.inside.loop.Requests[tree.Get].AddN(time.Millisecond, 98)
	l.inside.loop.Requests[tree.Set].AddN(8*time.Millisecond, 2)
	sm.take(sm.start.Add(2 * time.Second))
	r := sm.report()
	if !r.Ready || r.Program != "test" || r.Uptime != 2 || r.PerSecond != 10 || len(r.Ops) != 2 || r.Ops[1] != (OpRate{"set", "ok", 5, 10}) {
		t.Errorf("%+v", r)
	}
	if len(r.Stages) != 5 || r.Stages[1].Name != "queue" || r.Stages[1].PerSecond != 5 || r.Commit.PerSecond != 5 || r.CommitSize.Mean != 1 {
		t.Errorf("stages %+v, commit %+v, batch %+v", r.Stages, r.Commit, r.CommitSize)
	}
	if len(r.Requests) != 2 || r.Requests[0].Name != "get" || r.Requests[1].Name != "set" || r.Requests[0].PerSecond != 49 || !(r.Requests[1].P99 > 4*r.Requests[0].P99) {
		t.Errorf("requests %+v", r.Requests)
	}
	if h := r.History; h.RequestP99[len(h.RequestP99)-1] < r.Requests[1].P50 || h.CommitP99[len(h.CommitP99)-1] != r.Commit.P99 || h.SyncP99[len(h.SyncP99)-1] != r.Sync.P99 {
		t.Errorf("history %+v", h)
	}
	if r.Tree == nil || r.Tree.Pages != 1 || r.Tree.HitRatio != 1 || r.Tree.GarbageRatio < 1 {
		t.Errorf("tree %+v", r.Tree)
	}
	for i := range 2 * historySamples {
		sm.take(sm.start.Add(time.Duration(3+i) * time.Second))
	}
	r = sm.report()
	if len(r.History.PerSecond) != historySamples || r.PerSecond != 0 {
		t.Errorf("%d samples are kept; %v a second", len(r.History.PerSecond), r.PerSecond)
	}
}

// TestReportWithoutTree checks that a program without a tree and block files, such as kivaloo-mux,
// has no numbers of them.
func TestReportWithoutTree(t *testing.T) {
	l := look(t)
	l.Ready(Serving{})
	sm := newSampler(l.Server)
	r := sm.report()
	if h := r.History; r.Commit != nil || r.CommitSize != nil || r.Sync != nil || len(r.Requests) != 0 || len(r.Stages) != 2 || r.Stages[1].Name != "write" || h.RequestP99 != nil || h.CommitP99 != nil || h.SyncP99 != nil {
		t.Errorf("%+v", r)
	}
	if len(r.History.PerSecond) != 1 {
		t.Errorf("history %+v", r.History)
	}
}

// TestServedReport checks that stats.json is a report, also before anything has happened.
func TestServedReport(t *testing.T) {
	l := look(t)
	var r Report
	must.Do(t, json.Unmarshal([]byte(l.want("/stats.json", 200)), &r))
	if r.Ready || r.Problem != errNotServing.Error() || r.Program != "test" || r.Ops == nil || len(r.Stages) != len(stages) || r.Tree != nil {
		t.Errorf("%+v", r)
	}
}

// TestConnectionsAreBounded checks that open connections are limited, that an idle one is closed
// for a new one, and that a late client waits.
func TestConnectionsAreBounded(t *testing.T) {
	l := look(t)
	for range 2 * maxConnections {
		transport := &http.Transport{}
		defer transport.CloseIdleConnections()
		answer, err := (&http.Client{Transport: transport, Timeout: time.Minute}).Get("http://" + l.Addr() + "/livez")
		must.Do(t, err)
		answer.Body.Close()
	}
	var open []net.Conn
	for range maxConnections {
		nc, err := net.Dial("tcp", l.Addr())
		must.Do(t, err)
		defer nc.Close()
		if _, err := io.WriteString(nc, "GET /livez HTTP/1.1\r\n"); err != nil { // and no more
			t.Fatal(err)
		}
		open = append(open, nc)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, "GET", "http://"+l.Addr()+"/livez", nil)
	must.Do(t, err)
	if _, err := l.client.Do(r); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("one too many: %v", err)
	}
	for _, nc := range open {
		nc.Close()
	}
	l.want("/livez", 200)
}

// TestLongProfilesAreFew requests many long profiles. Some are made, the others are refused at
// once, and other requests are still answered.
func TestLongProfilesAreFew(t *testing.T) {
	l := look(t)
	l.Ready(Serving{})
	ctx, cancel := context.WithCancel(t.Context())
	statuses := make(chan int, 100)
	var group sync.WaitGroup
	for _, profile := range []string{"goroutine", "heap", "allocs", "mutex", "block", "profile", "trace", "threadcreate"} {
		for range 6 {
			r, err := http.NewRequestWithContext(ctx, "GET", "http://"+l.Addr()+"/debug/pprof/"+profile+"?seconds=500", nil)
			must.Do(t, err)
			group.Go(func() {
				answer, err := l.client.Do(r)
				if err != nil {
					return // this one is being made
				}
				statuses <- answer.StatusCode
				_, _ = io.Copy(io.Discard, answer.Body)
				answer.Body.Close()
			})
		}
	}
	refused := make(map[int]int)
	const tooMany, inUse = http.StatusTooManyRequests, http.StatusInternalServerError
	for timeout := time.After(time.Minute); refused[tooMany]+refused[inUse] < 48-maxProfiles; {
		select {
		case status := <-statuses:
			refused[status]++
		case <-timeout:
			t.Fatalf("of 48 are refused, by status: %v", refused)
		}
	}
	if refused[tooMany] == 0 {
		t.Errorf("refused by status: %v", refused)
	}
	l.want("/readyz", 200, "ready")
	l.want("/debug/pprof/cmdline", 200, "debug.test")
	cancel()
	group.Wait()
}
