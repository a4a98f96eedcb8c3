package debug

import (
	"errors"
	"fmt"
	"net/http"
)

// Reasons for not being ready.
var (
	errNotServing = errors.New("clients are not served: starting, or stopping")
	errNoAnswer   = errors.New("the tree has not answered in time")
)

// serveAlive shows that the process answers.
func serveAlive(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "alive") }

// serveReady reports whether clients are served.
func (s *Server) serveReady(w http.ResponseWriter, _ *http.Request) {
	if err := s.problem(); err != nil {
		http.Error(w, "not ready: "+err.Error(), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ready")
}

// problem returns why clients are not completely served, or nil.
func (s *Server) problem() error {
	serving := s.serving.Load()
	if serving == nil {
		return errNotServing
	}
	if serving.Requests == nil {
		return nil
	}
	stats, ok := s.shape(serving)
	if !ok {
		return errNoAnswer
	}
	return stats.Refusal
}
