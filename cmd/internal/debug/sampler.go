package debug

import (
	"context"
	"slices"
	"sync"
	"time"

	"kivaloo/actors"
	"kivaloo/eventloop/kvlds"
	"kivaloo/tree"
)

// stages are the parts of a request's way, in order. Their indexes are those of sample.stages.
var stages = [...]string{"read", "queue", "tree", "disk", "write"}

// sample has all counts at one moment.
type sample struct {
	at       time.Time
	requests []OpRate // counts only
	latency  [kvlds.Ops]actors.Counts
	stages   [len(stages)]actors.Counts
	commit   actors.Counts
	sync     actors.Counts
	size     actors.Counts // of commits
	hits     uint64
	misses   uint64
}

// sampler compares the current counts with those of a second ago, for all readers.
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
	for op := range s.latency {
		s.latency[op] = in.loop.Requests[op].Read()
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
	all := r.compare(&sm.last, &next)
	if serving != nil && serving.Requests != nil {
		if stats, ok := s.shape(serving); ok {
			r.Tree = shapeOf(&stats, &sm.last, &next)
		}
	} else {
		r.Commit, r.CommitSize, all = nil, nil, nil
	}
	if serving != nil && serving.Requests == nil {
		r.Stages = slices.DeleteFunc(r.Stages, func(t Timing) bool { return t.Name != stages[0] && t.Name != stages[len(stages)-1] })
	}
	if !s.inside.synced.Load() {
		r.Sync = nil
	}
	sm.last = next

	sm.mu.Lock()
	defer sm.mu.Unlock()
	h := &sm.latest.History
	r.History = History{
		PerSecond:  extend(h.PerSecond, r.PerSecond),
		RequestP99: extendP99(h.RequestP99, all),
		CommitP99:  extendP99(h.CommitP99, r.Commit),
		SyncP99:    extendP99(h.SyncP99, r.Sync),
	}
	sm.latest = r
}

// report returns the latest report.
func (sm *sampler) report() Report {
	sm.mu.Lock()
	defer sm.mu.Unlock()
	return sm.latest
}

// compare fills in what happened between two samples. It returns the latency of all requests.
func (r *Report) compare(before, now *sample) *Timing {
	seconds := max(now.at.Sub(before.at).Seconds(), 1e-3)
	r.Ops = []OpRate{}
	for i, o := range now.requests {
		o.PerSecond = float64(o.Total) / seconds
		if i < len(before.requests) { // clients were already served then
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
	sync := timing("fsync", &before.sync, &now.sync, seconds)
	r.Sync = &sync
	size := now.size.Since(&before.size)
	r.CommitSize = &Sizes{Mean: float64(size.Sum) / float64(max(size.Total(), 1)), P99: size.Quantile(.99)}
	return r.compareLatency(before, now, seconds)
}

// compareLatency fills in how long requests took. It returns the latency of all requests together.
func (r *Report) compareLatency(before, now *sample, seconds float64) *Timing {
	r.Requests = []Timing{}
	var allBefore, allNow actors.Counts
	for op := range now.latency {
		if now.latency[op].Total() > 0 {
			r.Requests = append(r.Requests, timing(kvlds.OpName(op), &before.latency[op], &now.latency[op], seconds))
			allBefore.Merge(&before.latency[op])
			allNow.Merge(&now.latency[op])
		}
	}
	all := timing("all", &allBefore, &allNow, seconds)
	return &all
}

// timing describes what was added to a histogram of durations between two samples.
func timing(name string, before, now *actors.Counts, seconds float64) Timing {
	c := now.Since(before)
	return Timing{
		Name: name, PerSecond: float64(c.Total()) / seconds,
		P50: c.Quantile(.5) / microseconds, P99: c.Quantile(.99) / microseconds,
	}
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

// extendP99 extends history by the p99 of t. It returns nil if t is nil.
func extendP99(history []float64, t *Timing) []float64 {
	if t == nil {
		return nil
	}
	return extend(history, t.P99)
}

// extend returns a new slice with value after the latest part of history.
func extend(history []float64, value float64) []float64 {
	history = history[max(0, len(history)+1-historySamples):]
	return append(slices.Clone(history), value)
}
