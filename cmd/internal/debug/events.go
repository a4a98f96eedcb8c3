package debug

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"kivaloo/actors"
)

// EventList is events.json: occasional events, such as cleaning and disk stalls.
type EventList struct {
	Now    time.Time `json:"now"`    // the clock of all times here
	Next   uint64    `json:"next"`   // ?since= for later events
	Missed uint64    `json:"missed"` // requested events that are too old
	Events []Event   `json:"events"` // in the order in which they ended; ongoing ones last
}

// Event is one event.
type Event struct {
	Kind    string    `json:"kind"`
	Began   time.Time `json:"began"`
	Seconds float64   `json:"seconds"` // so far, if it is ongoing
	Ongoing bool      `json:"ongoing"`
}

// ListEvents makes a list of the result of actors.Events.Since(since).
func ListEvents(since uint64, events []actors.Event, next uint64) EventList {
	l := EventList{Now: time.Now().UTC(), Next: next, Events: []Event{}}
	ended := uint64(0)
	for _, e := range events {
		l.Events = append(l.Events, Event{e.Kind, e.Began.UTC(), e.Took.Seconds(), e.Ongoing})
		if !e.Ongoing {
			ended++
		}
	}
	if since > next { // the server has been restarted
		since = 0
	}
	l.Missed = next - since - ended
	return l
}

// eventsSince returns the events from number n on.
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
	_ = json.NewEncoder(w).Encode(s.inside.eventsSince(since)) // it fails only if the client has gone
}
