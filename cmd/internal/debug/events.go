package debug

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"kivaloo/actors"
)

// EventList is events.json: what happens now and then, such as cleaning and stalls of the disk.
type EventList struct {
	Now    time.Time `json:"now"`    // the clock by which the times are
	Next   uint64    `json:"next"`   // ?since= of those to come
	Missed uint64    `json:"missed"` // that were asked for and are too old
	Events []Event   `json:"events"` // in the order in which they ended; those that are going on last
}

// Event is one of them.
type Event struct {
	Kind    string    `json:"kind"`
	Began   time.Time `json:"began"`
	Seconds float64   `json:"seconds"` // up to now, if it is going on
	Ongoing bool      `json:"ongoing"`
}

// ListEvents makes a list of what actors.Events.Since(since) has returned.
func ListEvents(since uint64, events []actors.Event, next uint64) EventList {
	l := EventList{Now: time.Now().UTC(), Next: next, Events: []Event{}}
	ended := uint64(0)
	for _, e := range events {
		l.Events = append(l.Events, Event{e.Kind, e.Began.UTC(), e.Took.Seconds(), e.Ongoing})
		if !e.Ongoing {
			ended++
		}
	}
	if since > next { // of a server that has been restarted
		since = 0
	}
	l.Missed = next - since - ended
	return l
}

// eventsSince returns the events from a number on.
func (in *inside) eventsSince(n uint64) EventList {
	events, next := in.events.Since(n)
	return ListEvents(n, events, next)
}

// serveEvents serves events.json.
func (s *Server) serveEvents(w http.ResponseWriter, r *http.Request) {
	since := uint64(0)
	if text := r.FormValue("since"); text != "" {
		var err error
		if since, err = strconv.ParseUint(text, 10, 64); err != nil {
			http.Error(w, fmt.Sprintf("since=%s is not a number of an event", text), http.StatusBadRequest)
			return
		}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(s.inside.eventsSince(since)) // it fails only if nobody listens any more
}
