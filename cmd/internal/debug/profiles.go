package debug

import (
	"fmt"
	"net/http"
	"net/http/pprof"
	"strconv"
	"time"
)

// addProfiles adds the profiles of the Go runtime. CPU profiles tell the actors apart by the label "actor".
func addProfiles(mux *http.ServeMux) {
	add := func(name string, serve http.HandlerFunc) {
		mux.HandleFunc("GET /debug/pprof/"+name, func(w http.ResponseWriter, r *http.Request) {
			took, err := profileTime(r)
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			setAnswerTime(w, took)
			serve(w, r)
		})
	}
	add("", pprof.Index) // and all those that have a name only
	add("cmdline", pprof.Cmdline)
	add("profile", pprof.Profile)
	add("symbol", pprof.Symbol)
	add("trace", pprof.Trace)
}

// profileTime returns how long making a profile may take.
func profileTime(r *http.Request) (time.Duration, error) {
	const usual = 30 * time.Second // pprof's own
	text := r.FormValue("seconds")
	if text == "" {
		return usual, nil
	}
	seconds, err := strconv.ParseFloat(text, 64)
	if err != nil || !(seconds >= 0 && seconds <= maxProfileTime.Seconds()) {
		return 0, fmt.Errorf("seconds=%s is not within 0 to %v", text, maxProfileTime.Seconds())
	}
	return time.Duration(seconds * float64(time.Second)), nil
}
