package debug

import (
	"context"
	"slices"
	"sync"
	"time"

	"kivaloo/actors"
	"kivaloo/tree"
)

// stages are the parts of a request's way, in order. Each has its place in sample.stages.
var stages = [...]string{"read", "queue", "tree", "disk", "write"}

// sample is all counts at one moment.
type sample struct {
	at       time.Time
	requests []OpRate // only how many
	stages   [len(stages)]actors.Counts
	commit   actors.Counts
	sync     actors.Counts
	size     actors.Counts // of commits
	hits     uint64
	misses   uint64
}

// sampler compares the counts of now with those of a second ago, for everybody who looks.
type sampler struct {
	server *Server
	start  time.Time
	last   sample // the goroutine's own

	mu     sync.Mutex
	latest Report // under mu; its slices are never changed
}

func newSampler(s *Server) *sampler {
	now := time.Now()
	sm := &sampler{server: s, start: now, last: s.inside.sample(now, nil)}
	sm.take(now)
	return sm
}

// run takes samples until ctx is done.
func (sm *sampler) run(ctx context.Context) {
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			sm.take(now)
		}
	}
}

// sample reads all counts.
func (in *inside) sample(now time.Time, serving *Serving) sample {
	m := &in.tree
	s := sample{
		at: now, commit: m.Commit.Read(), sync: in.syncs.Read(), size: m.CommitSize.Read(),
		hits: m.CacheHits(), misses: m.CacheMisses(),
	}
	for i, d := range [len(stages)]*actors.Durations{&in.loop.Read, &m.Queue, &m.Step, &m.Disk, &in.loop.Write} {
		s.stages[i] = d.Read()
	}
	in.requests(serving, func(op, status string, n uint64) {
		s.requests = append(s.requests, OpRate{Op: op, Status: status, Total: n})
	})
	return s
}

// take makes the latest report.
func (sm *sampler) take(now time.Time) {
	s := sm.server
	serving := s.serving.Load()
	next := s.inside.sample(now, serving)
	problem := s.problem()
	r := Report{
		Program: s.opts.Program, Version: s.opts.Version, Uptime: now.Sub(sm.start).Seconds(),
		Ready: problem == nil, Connections: serving.connections(),
	}
	if problem != nil {
		r.Problem = problem.Error()
	}
	r.Events = s.inside.eventsSince(0).Events
	r.Events = r.Events[max(0, len(r.Events)-recentEvents):]
	r.compare(&sm.last, &next)
	if serving != nil && serving.Requests != nil {
		if stats, ok := s.shape(serving); ok {
			r.Tree = shapeOf(&stats, &sm.last, &next)
		}
	} else {
		r.Commit, r.CommitSize = nil, nil
	}
	sm.last = next

	sm.mu.Lock()
	defer sm.mu.Unlock()
	h := &sm.latest.History
	r.History = History{
		PerSecond: extend(h.PerSecond, r.PerSecond),
		CommitP99: extend(h.CommitP99, p99(r.Commit)),
		SyncP99:   extend(h.SyncP99, r.Sync.P99),
	}
	sm.latest = r
}

// report returns the latest report.
func (sm *sampler) report() Report {
	sm.mu.Lock()
	defer sm.mu.Unlock()
	return sm.latest
}

// compare fills in what happened between two samples.
func (r *Report) compare(before, now *sample) {
	seconds := max(now.at.Sub(before.at).Seconds(), 1e-3)
	r.Ops = []OpRate{}
	for i, o := range now.requests {
		o.PerSecond = float64(o.Total) / seconds
		if i < len(before.requests) { // clients were served by then
			o.PerSecond = float64(o.Total-before.requests[i].Total) / seconds
		}
		r.PerSecond += o.PerSecond
		if o.Total > 0 {
			r.Ops = append(r.Ops, o)
		}
	}
	for i, name := range stages {
		r.Stages = append(r.Stages, timing(name, &before.stages[i], &now.stages[i], seconds))
	}
	commit := timing("commit", &before.commit, &now.commit, seconds)
	r.Commit = &commit
	r.Sync = timing("fsync", &before.sync, &now.sync, seconds)
	size := now.size.Since(&before.size)
	r.CommitSize = &Sizes{Mean: float64(size.Sum) / float64(max(size.Total(), 1)), P99: size.Quantile(.99)}
}

// timing describes what a histogram of durations has got between two samples.
func timing(name string, before, now *actors.Counts, seconds float64) Timing {
	c := now.Since(before)
	return Timing{
		Name: name, PerSecond: float64(c.Total()) / seconds,
		P50: c.Quantile(.5) / microseconds, P99: c.Quantile(.99) / microseconds,
	}
}

func p99(t *Timing) float64 {
	if t == nil {
		return 0
	}
	return t.P99
}

func shapeOf(stats *tree.Stats, before, now *sample) *Shape {
	ratio := 1.0
	hits, misses := now.hits-before.hits, now.misses-before.misses
	if hits+misses > 0 {
		ratio = float64(hits) / float64(hits+misses)
	}
	return &Shape{
		Height: stats.Height, Pages: stats.Pages, Blocks: stats.Blocks, BlockBytes: stats.BlockSize,
		GarbageRatio: garbageRatio(stats), CachedPages: stats.CachedPages, CacheLimit: stats.CacheLimit,
		JournalBytes: stats.Journal, MemtableBytes: stats.MemtableBytes, Flushes: stats.Flushes,
		HitRatio: ratio, Snapshots: stats.Snapshots,
	}
}

// extend returns a new slice that has value behind the latest of history.
func extend(history []float64, value float64) []float64 {
	history = history[max(0, len(history)+1-historySamples):]
	return append(slices.Clone(history), value)
}
