package debug

import (
	"encoding/json"
	"net/http"
)

// Report is stats.json: what a server did in the last second, its state, and its history. Times are
// in seconds.
type Report struct {
	Program string  `json:"program"`
	Version string  `json:"version"`
	Uptime  float64 `json:"uptime"`
	Ready   bool    `json:"ready"`
	Problem string  `json:"problem"` // why it is not ready

	Connections int      `json:"connections"`
	Ops         []OpRate `json:"ops"` // operations used so far
	PerSecond   float64  `json:"per_second"`
	Requests    []Timing `json:"requests"` // from socket to socket, by operation; those used so far
	Stages      []Timing `json:"stages"`   // in the order in which a request passes them; those that the program has
	Commit      *Timing  `json:"commit"`   // nil: the program has no tree
	Sync        *Timing  `json:"fsync"`    // nil: the program has no block files
	CommitSize  *Sizes   `json:"commit_size"`
	Tree        *Shape   `json:"tree"`
	Events      []Event  `json:"events"` // the latest; ongoing ones last
	History     History  `json:"history"`
}

// OpRate counts the requests for one operation with one outcome.
type OpRate struct {
	Op        string  `json:"op"`
	Status    string  `json:"status"`
	PerSecond float64 `json:"per_second"`
	Total     uint64  `json:"total"` // since the start
}

// Timing describes how often something was done in the last second, and how long it took.
type Timing struct {
	Name      string  `json:"name"`
	PerSecond float64 `json:"per_second"`
	P50       float64 `json:"p50"`
	P99       float64 `json:"p99"`
}

// Sizes are the commit sizes of the last second.
type Sizes struct {
	Mean float64 `json:"mean"`
	P99  float64 `json:"p99"`
}

// Shape describes the tree, its cache and its disk space.
type Shape struct {
	Height        int     `json:"height"`
	Pages         uint64  `json:"pages"`
	Blocks        uint64  `json:"blocks"`
	BlockBytes    int     `json:"block_bytes"`
	GarbageRatio  float64 `json:"garbage_ratio"`
	JournalBytes  int64   `json:"journal_bytes"`  // that a restart would replay
	MemtableBytes int64   `json:"memtable_bytes"` // memory of the memtables
	Flushes       uint64  `json:"flushes"`
	CachedPages   int     `json:"cached_pages"`
	CacheLimit    int     `json:"cache_limit"`
	HitRatio      float64 `json:"hit_ratio"` // of the last second; 1 without lookups
	Snapshots     int     `json:"snapshots"`
}

// History has one number for each of the last seconds, oldest first. Numbers that the program does
// not have are nil.
type History struct {
	PerSecond  []float64 `json:"per_second"`
	RequestP99 []float64 `json:"request_p99"` // of all operations
	CommitP99  []float64 `json:"commit_p99"`
	SyncP99    []float64 `json:"fsync_p99"`
}

// serveReport serves stats.json.
func (s *Server) serveReport(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	report := s.sampler.report()
	_ = json.NewEncoder(w).Encode(&report) // it fails only if the client has gone
}
