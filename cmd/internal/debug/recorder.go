package debug

import (
	"fmt"
	"net/http"
	"runtime/trace"
	"sync"
)

// recorder keeps an execution trace of the last seconds, so that what led to a stall can be seen
// after it has been noticed. It takes about a tenth of the processor where requests come one by
// one, and so runs only when it is told to.
type recorder struct {
	mu sync.Mutex            // held while a recording is written: there can be one at a time
	on *trace.FlightRecorder // nil: it does not run
}

// add adds what starts the recorder (PUT), stops it (DELETE), and gets what it has recorded (GET).
func (rec *recorder) add(mux *http.ServeMux) {
	const path = " /debug/flightrecording"
	mux.HandleFunc("PUT"+path, func(w http.ResponseWriter, _ *http.Request) {
		switch started, err := rec.start(); {
		case err != nil:
			http.Error(w, err.Error(), http.StatusConflict)
		case started: // others may need to know whether it is theirs to be stopped
			w.WriteHeader(http.StatusCreated)
		}
	})
	mux.HandleFunc("DELETE"+path, func(http.ResponseWriter, *http.Request) { rec.stop() })
	mux.HandleFunc("GET"+path, rec.serve)
}

// start starts the recorder, unless it runs already, and reports whether it has.
func (rec *recorder) start() (bool, error) {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if rec.on != nil {
		return false, nil
	}
	on := trace.NewFlightRecorder(trace.FlightRecorderConfig{MinAge: recordingAge, MaxBytes: maxRecordingBytes})
	if err := on.Start(); err != nil {
		return false, fmt.Errorf("start the flight recorder: %w", err)
	}
	rec.on = on
	return true, nil
}

// stop stops the recorder, if it runs, when nobody is reading a recording any more.
func (rec *recorder) stop() {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if rec.on != nil {
		rec.on.Stop()
		rec.on = nil
	}
}

// serve serves what has been recorded up to now, for `go tool trace`.
func (rec *recorder) serve(w http.ResponseWriter, _ *http.Request) {
	if !rec.mu.TryLock() {
		http.Error(w, "a recording is being read already; one at a time", http.StatusConflict)
		return
	}
	defer rec.mu.Unlock()
	if rec.on == nil {
		http.Error(w, "the flight recorder does not run: start the server with --flight-recorder, or PUT this URL", http.StatusConflict)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Disposition", `attachment; filename="flight.trace"`)
	_, _ = rec.on.WriteTo(w) // it fails if nobody listens any more
}
