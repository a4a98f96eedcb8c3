package actors

import (
	"slices"
	"sync"
	"time"
)

// eventsKept is how many events an Events holds. They take some tens of kilobytes, and last more
// than a minute even with a dozen stalls per second.
const eventsKept = 1024

// Event is something that takes a while and happens now and then, such as a slow sync. It helps to
// see events beside the curves of a load.
type Event struct {
	Kind    string
	Began   time.Time
	Took    time.Duration // so far, if it is ongoing
	Ongoing bool
}

// Events keeps the latest events of a process. The kinds are a few constants of the packages that
// report them. It takes a lock for a short time, so it is for events that happen a few times a
// second at most.
//
// The zero value is empty, and a nil one takes no notes. Any number of goroutines may use it.
type Events struct {
	mu    sync.Mutex
	ring  []Event // ended ones; number n is at n%eventsKept
	count uint64  // number of ended ones
	going []Event // ongoing ones, at most one of each kind
}

// Begin notes the start of an event, unless one of its kind is ongoing.
func (e *Events) Begin(kind string) {
	if e == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.find(kind) < 0 {
		e.going = append(e.going, Event{Kind: kind, Began: time.Now(), Ongoing: true})
	}
}

// End notes the end of an event that Begin started. Without one it does nothing.
func (e *Events) End(kind string) {
	if e == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if i := e.find(kind); i >= 0 {
		began := e.going[i].Began
		e.going = slices.Delete(e.going, i, i+1)
		e.add(Event{Kind: kind, Began: began, Took: time.Since(began)})
	}
}

// Mark notes an event that has just ended. Events of one kind may overlap.
func (e *Events) Mark(kind string, took time.Duration) {
	if e == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.add(Event{Kind: kind, Began: time.Now().Add(-took), Took: took})
}

func (e *Events) find(kind string) int {
	return slices.IndexFunc(e.going, func(v Event) bool { return v.Kind == kind })
}

func (e *Events) add(v Event) {
	if len(e.ring) < eventsKept {
		e.ring = append(e.ring, v)
	} else {
		e.ring[e.count%eventsKept] = v
	}
	e.count++
}

// Since returns the events from number n on in the order in which they ended, followed by the
// ongoing ones. The first event has number 0. next is the number of the next event to end. If
// events are too old, fewer than next-n come before the ongoing ones. A number that does not exist
// yet, as after a restart, counts as 0.
func (e *Events) Since(n uint64) (list []Event, next uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if n > e.count {
		n = 0
	}
	for i := max(n, e.count-uint64(len(e.ring))); i < e.count; i++ {
		list = append(list, e.ring[i%eventsKept])
	}
	for _, v := range e.going {
		v.Took = time.Since(v.Began)
		list = append(list, v)
	}
	return list, e.count
}
