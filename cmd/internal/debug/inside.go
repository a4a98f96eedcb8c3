package debug

import (
	"sync/atomic"
	"time"

	"kivaloo/actors"
	"kivaloo/disk"
	"kivaloo/eventloop"
	"kivaloo/tree"
)

// inside is what a server measures.
type inside struct {
	tree   tree.Metrics
	loop   eventloop.Metrics
	syncs  actors.Durations
	synced atomic.Bool // syncs are reported
	events actors.Events

	asking  chan struct{} // one place, held by the goroutine that asks
	pending *question     // asked, and not yet answered when last checked
}

// Serving is what can be shown once clients are served.
type Serving struct {
	Requests *tree.Requests            // nil: the program has no tree
	Gate     *eventloop.Gate           // counts the connections; nil: nothing does
	Counts   *eventloop.RequestCounts  // of a program without a tree
	Scrubbed func() disk.ScrubStats    // nil: the program does not scrub its store
	Bucket   func() disk.RequestCounts // nil: its store is not in a bucket
}

// requests calls f with the number of ended requests, by operation and status, always in the same
// order.
func (in *inside) requests(serving *Serving, f func(op, status string, n uint64)) {
	switch {
	case serving == nil:
	case serving.Counts != nil:
		serving.Counts.Each(f)
	case serving.Requests != nil:
		for op := range tree.OpCode(tree.OpCodes) {
			for s := range tree.Status(tree.Statuses) {
				f(op.String(), s.String(), in.tree.Requests(op, s))
			}
		}
	}
}

// OnSync returns the function that the block store calls for each sync.
func (s *Server) OnSync() func(time.Duration) {
	if s == nil {
		return nil
	}
	s.inside.synced.Store(true)
	return func(took time.Duration) {
		s.inside.syncs.Add(took)
		disk.NoteStall(&s.inside.events, took)
	}
}

// Clock returns now, or nil if nothing is measured.
func (s *Server) Clock(now func() time.Duration) func() time.Duration {
	if s == nil {
		return nil
	}
	return now
}

// Measure measures a loop and a tree that do not run yet. Either may be nil.
func (s *Server) Measure(l *eventloop.Loop, t *tree.Tree) {
	if s == nil {
		return
	}
	l.Measure(&s.inside.loop)
	if t != nil {
		s.inside.measure(t)
	}
}

func (in *inside) measure(t *tree.Tree) {
	t.Measure(&in.tree)
	t.Note(&in.events)
}

// Ready reports that clients are served from now on.
func (s *Server) Ready(serving Serving) {
	if s != nil {
		s.serving.Store(&serving)
	}
}

// Stopping reports that the server is about to stop. The tree is not asked from now on.
func (s *Server) Stopping() {
	if s != nil {
		s.serving.Store(nil)
	}
}

// question asks the tree for its Stats. It is a tree.Batch without requests, and at the same time
// its client. The tree calls only Release.
type question struct {
	tree.Batch
	tree.Client
	answer chan tree.Stats
}

func (q *question) Release(*tree.Batch) {}

// shape asks the tree for its shape. It returns false if the tree is too busy to answer, or has
// ended. Only one question is asked at a time, so that they cannot pile up.
func (s *Server) shape(serving *Serving) (tree.Stats, bool) {
	in := &s.inside
	timeout := time.NewTimer(s.opts.patience)
	defer timeout.Stop()
	select {
	case in.asking <- struct{}{}:
		defer func() { <-in.asking }()
	case <-timeout.C:
		return tree.Stats{}, false
	case <-s.ended.Done():
		return tree.Stats{}, false
	}
	if in.pending != nil && len(in.pending.answer) > 0 {
		in.pending = nil // that was an earlier question
	}
	if in.pending == nil {
		q := &question{answer: make(chan tree.Stats, 1)}
		q.Batch.Client = q
		q.Call = func(t *tree.Tree) { q.answer <- t.Stats() }
		in.pending = q
		serving.Requests.PushOne(&q.Batch)
	}
	select {
	case stats := <-in.pending.answer:
		in.pending = nil
		return stats, true
	case <-timeout.C:
	case <-s.ended.Done():
	}
	return tree.Stats{}, false
}

// connections returns the number of open connections.
func (serving *Serving) connections() int {
	if serving == nil || serving.Gate == nil {
		return 0
	}
	return serving.Gate.Open()
}
