package debug

import (
	"fmt"
	"net/http"
	"net/http/pprof"
	"runtime"
	"strconv"
	"sync"
	"time"
)

// addProfiles adds the profiles of the Go runtime. The label "actor" distinguishes the actors in
// CPU profiles. With seconds=N, mutex and block profiles cover that time span. Contention is
// sampled only during it, because sampling costs time.
func addProfiles(mux *http.ServeMux) {
	places := make(chan struct{}, maxProfiles)
	add := func(name string, serve http.HandlerFunc) {
		mux.HandleFunc("GET /debug/pprof/"+name, func(w http.ResponseWriter, r *http.Request) {
			took, err := profileTime(r)
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			select {
			case places <- struct{}{}:
				defer func() { <-places }()
			default:
				http.Error(w, fmt.Sprintf("%d profiles are being made already; try again later", maxProfiles), http.StatusTooManyRequests)
				return
			}
			setAnswerTime(w, took)
			serve(w, r)
		})
	}
	add("", pprof.Index) // and all those selected by name
	add("mutex", (&sampling{set: sampleMutexes}).during(pprof.Handler("mutex")))
	add("block", (&sampling{set: sampleBlocking}).during(pprof.Handler("block")))
	add("profile", pprof.Profile)
	add("trace", pprof.Trace)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
}

// sampling makes the runtime sample something while it has users.
type sampling struct {
	set func(on bool)

	mu    sync.Mutex
	users int
}

func sampleMutexes(on bool) {
	fraction := 0
	if on {
		fraction = mutexFraction
	}
	runtime.SetMutexProfileFraction(fraction)
}

func sampleBlocking(on bool) {
	rate := 0
	if on {
		rate = int(blockingRate)
	}
	runtime.SetBlockProfileRate(rate)
}

// during returns a handler that samples while profile answers, if a time span is requested.
func (s *sampling) during(profile http.Handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("seconds") != "" {
			s.use(1)
			defer s.use(-1)
		}
		profile.ServeHTTP(w, r)
	}
}

// use changes the number of users.
func (s *sampling) use(users int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.users > 0
	s.users += users
	if now := s.users > 0; now != before {
		s.set(now)
	}
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
