package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"kivaloo/cmd/internal/debug"
	"kivaloo/stress"
	"kivaloo/stress/results"
)

const (
	// eventsEvery is how often events are asked for: the server keeps those of much longer.
	eventsEvery = time.Second

	// maxEvents is how many events results have. Nobody could tell more of them apart.
	maxEvents = 10_000

	flightPath = "/debug/flightrecording"
	flightFile = "flight.trace"
)

// inspection looks into a store during one load. A nil one sees nothing.
//
//	begin --> profiles, when the warm-up is over --> files
//	     \--> events, every second
//	interval --> the condition holds --> flight recording --> file
//	found <-- all of it
type inspection struct {
	in     *inside
	dir    string
	ctx    context.Context
	cancel context.CancelFunc
	over   func()          // ends the asking for events
	ended  <-chan struct{} // closed by over
	work   sync.WaitGroup

	recording bool // the flight recorder is ours to be stopped
	fired     bool // the condition has held; of the goroutine that calls interval

	mu     sync.Mutex
	notes  []string
	failed []error

	// of the goroutine that asks for them, until it has ended
	events  []debug.Event
	ongoing []debug.Event
	missed  uint64
}

// begin starts to look, into a directory of results, at a load that begins now. stop has to follow.
func (in *inside) begin(ctx context.Context, dir string, p *stress.Plan) (*inspection, error) {
	if in == nil {
		return nil, nil
	}
	ended := make(chan struct{})
	i := &inspection{in: in, dir: dir, over: sync.OnceFunc(func() { close(ended) }), ended: ended}
	i.ctx, i.cancel = context.WithCancel(ctx)
	if in.condition != nil {
		answer, err := in.ask(i.ctx, http.MethodPut, flightPath)
		if err != nil {
			i.cancel()
			return nil, fmt.Errorf("start the flight recorder: %w", err)
		}
		answer.Body.Close()
		i.recording = answer.StatusCode == http.StatusCreated
	}
	for _, name := range in.profiles {
		i.work.Go(func() { i.profile(name, p) })
	}
	i.work.Go(i.follow)
	return i, nil
}

// profile takes one profile of the measured time.
func (i *inspection) profile(name string, p *stress.Plan) {
	spans := min(p.Duration, maxProfile).Truncate(time.Second) // profiles are of whole seconds
	if name == "trace" {
		spans = min(spans, maxTrace)
	}
	select {
	case <-time.After(p.Warmup):
	case <-i.ctx.Done():
		return
	}
	at := profilePaths[name]
	err := i.in.fetch(i.ctx, fmt.Sprintf("%s?seconds=%d", at.path, spans/time.Second), filepath.Join(i.dir, at.file), spans)
	i.note(err, "%s is of the first %v of the measured time.", at.file, spans)
}

// note keeps a note of what has been done, or that it could not be. After an interruption that is
// not worth mentioning.
func (i *inspection) note(err error, format string, args ...any) {
	if i.ctx.Err() != nil {
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if err != nil {
		i.failed = append(i.failed, err)
		i.notes = append(i.notes, "WARNING: "+err.Error())
		return
	}
	i.notes = append(i.notes, fmt.Sprintf(format, args...))
}

// interval looks whether the condition holds, and has the recording fetched the first time.
func (i *inspection) interval(v *stress.Interval) {
	if i == nil || i.in.condition == nil || i.fired {
		return
	}
	holds, was := i.in.condition.HoldsIn(v)
	if !holds {
		return
	}
	i.fired = true
	from, to := v.Start.Seconds(), (v.Start + v.Length).Seconds()
	i.work.Go(func() {
		err := i.in.fetch(i.ctx, flightPath, filepath.Join(i.dir, flightFile), 0)
		i.note(err, "%s is of the seconds before %.1f s: %s held, %s from %.1f s on.", flightFile, to, i.in.condition, was, from)
	})
}

// follow asks for events until it is over, and then once more.
func (i *inspection) follow() {
	tick := time.NewTicker(eventsEvery)
	defer tick.Stop()
	next := uint64(0)
	for last := false; ; {
		list, err := i.in.events(i.ctx, next)
		if err != nil {
			i.note(err, "")
			return
		}
		next = list.Next
		i.take(&list)
		if last {
			return
		}
		select {
		case <-tick.C:
		case <-i.ended:
			last = true
		case <-i.ctx.Done():
			return
		}
	}
}

// take adds a list of events to those that there are.
func (i *inspection) take(list *debug.EventList) {
	i.missed += list.Missed
	i.ongoing = nil
	for _, e := range list.Events {
		switch {
		case e.Ongoing:
			i.ongoing = append(i.ongoing, e)
		case len(i.events) < maxEvents:
			i.events = append(i.events, e)
		default:
			i.missed++
		}
	}
}

// found waits for what is under way, and adds what has been seen to the results of the load. The
// error is of what was asked for and could not be had.
func (i *inspection) found(s *results.Summary) error {
	if i == nil {
		return nil
	}
	i.over()
	i.work.Wait()
	for _, e := range append(i.events, i.ongoing...) {
		v := results.Event{Kind: e.Kind, Start: e.Began.Sub(s.Started).Seconds(), Length: e.Seconds}
		if v.Start+v.Length >= 0 && v.Start <= s.Seconds {
			s.Events = append(s.Events, v)
		}
	}
	slices.SortStableFunc(s.Events, func(a, b results.Event) int { return cmp.Compare(a.Start, b.Start) })
	if i.missed > 0 {
		i.note(nil, "%d events are missing: there were too many.", i.missed)
	}
	if i.in.condition != nil && !i.fired {
		i.note(nil, "There is no flight recording, as %s never held in an interval.", i.in.condition)
	}
	slices.Sort(i.notes)
	s.Inside = i.notes
	if len(i.failed) > 0 {
		return fmt.Errorf("look into the store: %w", i.failed[0])
	}
	return nil
}

// stop ends what is under way, and the flight recorder if it did not run before.
func (i *inspection) stop() {
	if i == nil {
		return
	}
	i.over()
	i.cancel()
	i.work.Wait()
	if !i.recording || errors.Is(context.Cause(i.ctx), os.ErrDeadlineExceeded) { // the server does not answer
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(i.ctx), fetchPatience)
	defer cancel()
	if answer, err := i.in.ask(ctx, http.MethodDelete, flightPath); err == nil { // else the server is gone
		answer.Body.Close()
	}
}
