package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"kivaloo/cmd/internal/debug"
)

// startReporting starts a server that returns the report r. It returns its host and port.
func startReporting(t *testing.T, r *debug.Report) string {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /stats.json", func(w http.ResponseWriter, _ *http.Request) {
		if err := json.NewEncoder(w).Encode(r); err != nil {
			t.Error(err)
		}
	})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

func TestTop(t *testing.T) {
	addr := startReporting(t, &debug.Report{
		Program: "kivaloo serve", Uptime: 3725, Ready: true, Connections: 3, PerSecond: 1234.4,
		Ops: []debug.OpRate{{Op: "get", Status: "ok", PerSecond: 1200, Total: 90000}, {Op: "cas", Status: "not_done", PerSecond: 34.4, Total: 7}},
		Stages: []debug.Timing{
			{Name: "read", PerSecond: 1100, P50: 12e-6, P99: 95.4e-6},
			{Name: "queue", PerSecond: 1100, P50: 1.5e-6, P99: 1.234567e-3},
		},
		Commit:     &debug.Timing{Name: "commit", PerSecond: 30, P50: 8e-3, P99: 1.2345},
		Sync:       &debug.Timing{Name: "fsync"},
		Requests:   []debug.Timing{{Name: "get", PerSecond: 1200, P50: 110e-6, P99: 2.5e-3}},
		CommitSize: &debug.Sizes{Mean: 1.25, P99: 3},
		Tree: &debug.Shape{
			Height: 2, Pages: 1000, Blocks: 2500, BlockBytes: 4096, GarbageRatio: 2.5, JournalBytes: 12_345_678, MemtableBytes: 7_700_000, Flushes: 4, CachedPages: 900, CacheLimit: 65536, HitRatio: .9987, Snapshots: 1,
		},
	})
	want := `kivaloo serve, up 1h2m5s: ready
1234 requests a second, 3 connections

   stage  per s   p50     p99
    read   1100  12µs    95µs
   queue   1100   2µs  1.23ms
  commit     30   8ms   1.23s
   fsync      0     -       -

  request  per s    p50    p99
      get   1200  110µs  2.5ms

   op     ended  per s  total
  get        ok   1200  90000
  cas  not_done     34      7

changes in a commit: mean 1.2, p99 3
cache: 99.87% answered from memory, 900 of 65536 pages
tree: 1000 pages of 4096 bytes, 2 levels above the leaves, 1 snapshot
disk: 2500 blocks, garbage ratio 2.50, journal 12.3 MB, memtables 7.7 MB, 4 flushes
`
	for _, arg := range []string{addr, "http://" + addr, "http://" + addr + "/"} {
		kivalooRun("", "top", arg, "-n", "1").want(t, 0, want, "")
	}
	kivalooRun("", "top", addr, "-n", "2").want(t, 0, want+"\n"+want, "")
}

// TestTopNotReady checks the output for a program without a tree that is not ready.
func TestTopNotReady(t *testing.T) {
	addr := startReporting(t, &debug.Report{Program: "kivaloo-lbs", Problem: "starting", Sync: &debug.Timing{Name: "fsync", PerSecond: 1, P50: 4e-3, P99: 5e-3}})
	kivalooRun("", "top", addr, "-n", "1").want(t, 0, `kivaloo-lbs, up 0s: NOT READY: starting
0 requests a second, 0 connections

  stage  per s  p50  p99
  fsync      1  4ms  5ms
`, "")
}

func TestTopFails(t *testing.T) {
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	kivalooRun("", "top", other.URL).want(t, 1, "", "404")
	kivalooRun("", "top", gone.URL).want(t, 1, "", "is that the --debug-addr of a server?")
	kivalooRun("", "top", "--every", "1ms").want(t, 1, "", "from 1s to")
	kivalooRun("", "top", "a", "b").want(t, 1, "", `unexpected argument "b"`)
}
