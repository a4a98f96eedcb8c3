package debug

import (
	"fmt"
	"net/http"
	"runtime/trace"
	"sync"
)

// recorder keeps an execution trace of the last seconds. It shows what led to a stall that has just
// been noticed. It takes about a tenth of the processor time when requests come one by one, so it
// runs only on demand.
type recorder struct {
	mu sync.Mutex            // held while a recording is written: there can be one at a time
	on *trace.FlightRecorder // nil: it does not run
}

// add adds the requests that start the recorder (PUT), stop it (DELETE), and get its recording
// (GET).
func (rec *recorder) add(mux *http.ServeMux) {
	const path = " /debug/flightrecording"
	mux.HandleFunc("PUT"+path, func(w http.ResponseWriter, _ *http.Request) {
		switch started, err := rec.start(); {
		case err != nil:
			http.Error(w, err.Error(), http.StatusConflict)
		case started: // tells the client whether it has started the recorder, and so should stop it
			w.WriteHeader(http.StatusCreated)
		}
	})
	mux.HandleFunc("DELETE"+path, func(http.ResponseWriter, *http.Request) { rec.stop() })
	mux.HandleFunc("GET"+path, rec.serve)
}

// start starts the recorder, unless it already runs, and reports whether it did.
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

// stop stops the recorder, if it runs, once no recording is being read.
func (rec *recorder) stop() {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if rec.on != nil {
		rec.on.Stop()
		rec.on = nil
	}
}

// serve serves the recording up to now, for `go tool trace`.
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
	_, _ = rec.on.WriteTo(w) // it fails if the client has gone
}
