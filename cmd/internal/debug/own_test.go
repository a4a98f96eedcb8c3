package debug

import (
	"context"
	"io"
	"net/http"
	"runtime/trace"
	"strings"
	"testing"
	"time"

	"kivaloo/internal/must"
)

// TestOwn checks that a program can look into itself without a server.
func TestOwn(t *testing.T) {
	client := Own()
	ask := func(method, path string, status int, begin string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, "http://own"+path, nil)
		must.Do(t, err)
		answer, err := client.Do(r)
		must.Do(t, err)
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		if err != nil || answer.StatusCode != status || !strings.HasPrefix(string(body), begin) {
			t.Errorf("%s %s: %s, %.50q, %v", method, path, answer.Status, body, err)
		}
	}
	ask("GET", "/debug/pprof/heap?seconds=1", 200, "\x1f\x8b")
	ask("GET", "/debug/pprof/heap?seconds=x", 400, "seconds=x")
	ask("GET", "/debug/flightrecording", 409, "the flight recorder")
	ask("PUT", "/debug/flightrecording", 201, "")
	ask("GET", "/debug/flightrecording", 200, "go 1.")
	ask("DELETE", "/debug/flightrecording", 200, "")
	ask("GET", "/livez", 404, "")
}

// TestOwnIsCutOff checks that cancelling a request ends the making of its answer.
func TestOwnIsCutOff(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://own/debug/pprof/trace?seconds=500", nil)
	must.Do(t, err)
	answer, err := Own().Do(r)
	must.Do(t, err)
	if !trace.IsEnabled() {
		t.Error("nothing is recorded")
	}
	cancel()
	answer.Body.Close()
	for trace.IsEnabled() {
		time.Sleep(time.Millisecond)
	}
}
