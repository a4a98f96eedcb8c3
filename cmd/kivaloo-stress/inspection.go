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
	// eventsEvery is the interval of requests for events. The server keeps them much longer.
	eventsEvery = time.Second

	// maxEvents is the most events in the results. Nobody could tell more of them apart.
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
	over   func()          // ends the requests for events
	ended  <-chan struct{} // closed by over
	work   sync.WaitGroup

	recording bool // we started the flight recorder, and must stop it
	fired     bool // the condition has held; owned by the goroutine that calls interval

	mu     sync.Mutex
	notes  []string
	failed []error

	// Owned by the goroutine that requests them, until it has ended.
	events  []debug.Event
	ongoing []debug.Event
	missed  uint64
}

// begin starts the inspection of a load that begins now. Its files go to a directory of results.
// The caller must call stop.
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
	spans := min(p.Duration, maxProfile).Truncate(time.Second) // profiles take whole seconds
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

// note notes what was done, or that it failed. It ignores failures after an interruption.
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

// interval checks whether the condition holds. The first time it does, it fetches the recording.
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

// follow requests events until over is called, and then once more.
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

// take adds a list of events to the known ones.
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

// found waits for pending requests, and adds everything seen to the results of the load. The error
// names what was requested and is missing.
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

// stop ends pending requests, and stops the flight recorder if it did not run before.
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
