package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"kivaloo/cmd/internal/debug"
	"kivaloo/internal/must"
	"kivaloo/stress"
	"kivaloo/stress/results"
)

// starts checks the beginnings of the files in a directory.
func starts(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, begin := range files {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !strings.HasPrefix(string(text), begin) {
			t.Errorf("%s: %.50q, %v; want it to begin with %q", name, text, err, begin)
		}
	}
}

// TestInsideOwnStore looks into a store in this process, without a server.
func TestInsideOwnStore(t *testing.T) {
	dir := t.TempDir()
	text, err := output(t, "run", "--dir", filepath.Join(dir, "store"), "-n", "200", "--warmup", "10ms", "--duration", "1s", "--interval", "200ms",
		"-o", dir, "--profile", "cpu,heap,mutex,block,trace", "--flight-recorder", "rate>0/s")
	must.Do(t, err)
	contains(t, text, "profile-cpu.pprof is of the first 1s", "flight.trace is of the seconds before 0.", "rate>0/s held, all.rate was ")
	const gzip, trace = "\x1f\x8b", "go 1."
	starts(t, dir, map[string]string{
		"profile-cpu.pprof": gzip, "profile-heap.pprof": gzip, "profile-mutex.pprof": gzip, "profile-block.pprof": gzip,
		"trace.out": trace, "flight.trace": trace,
	})
}

// TestInsideNothingRecorded checks that a condition that never holds leaves no recording, and that
// the end of the load says so.
func TestInsideNothingRecorded(t *testing.T) {
	dir := t.TempDir()
	text, err := output(t, "run", "--dir", filepath.Join(dir, "store"), "-n", "50", "--warmup", "0s", "--count", "20", "-o", dir, "--flight-recorder", "max>10000s")
	must.Do(t, err)
	contains(t, text, "There is no flight recording, as max>10000s never held")
	if _, err := os.Stat(filepath.Join(dir, flightFile)); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// faked is the inside of a server whose clock is an hour ahead.
type faked struct {
	*inside
	mu    sync.Mutex
	asked []string
}

func fakeInside(t *testing.T, recorder, profile int) *faked {
	t.Helper()
	f := &faked{}
	began := time.Now()
	lists := http.NewServeMux()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		f.asked = append(f.asked, r.Method+" "+r.URL.String())
		f.mu.Unlock()
		switch {
		case r.Method == http.MethodPut:
			w.WriteHeader(recorder)
		case strings.HasPrefix(r.URL.Path, "/debug/pprof/"):
			w.WriteHeader(profile)
			fmt.Fprint(w, "profiled")
		default:
			lists.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(server.Close)
	lists.HandleFunc("GET /events.json", func(w http.ResponseWriter, r *http.Request) {
		const ahead = time.Hour
		list := debug.EventList{Now: time.Now().Add(ahead), Next: 3}
		if r.FormValue("since") == "0" {
			list.Missed = 1
			list.Events = []debug.Event{
				{Kind: "long ago", Began: began.Add(ahead - time.Minute), Seconds: 1},
				{Kind: "stall", Began: began.Add(ahead + 1500*time.Millisecond), Seconds: 0.2},
			}
		}
		list.Events = append(list.Events, debug.Event{Kind: "cleaning", Began: began.Add(ahead - time.Second), Seconds: 2, Ongoing: true})
		_ = json.NewEncoder(w).Encode(&list)
	})
	lists.HandleFunc(flightPath, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "recorded") })
	condition, err := results.ParseCondition("rate>5/s")
	must.Do(t, err)
	f.inside = &inside{profiles: []string{"heap"}, condition: &condition, url: server.URL, client: server.Client()}
	return f
}

// look samples a pretended load whose last interval matches the condition.
func (f *faked) look(ctx context.Context, dir string) (*results.Summary, error) {
	i, err := f.begin(ctx, dir, &stress.Plan{Duration: 2700 * time.Millisecond})
	if err != nil {
		return nil, err
	}
	defer i.stop()
	s := &results.Summary{Started: time.Now().UTC(), Seconds: 2}
	none := hdrhistogram.New(1, 1000, 1)
	for n := range 3 {
		all := &stress.OpStats{Op: "all", Done: int64(5 * n * n), Times: stress.Times{Response: none, Service: none}}
		i.interval(&stress.Interval{Start: time.Duration(n) * time.Second, Length: time.Second, All: all})
	}
	return s, i.found(s)
}

func TestInspection(t *testing.T) {
	f, dir := fakeInside(t, http.StatusCreated, http.StatusOK), t.TempDir()
	s, err := f.look(t.Context(), dir)
	must.Do(t, err)
	starts(t, dir, map[string]string{"profile-heap.pprof": "profiled", flightFile: "recorded"})
	want := []string{
		"1 events are missing: there were too many.",
		"flight.trace is of the seconds before 3.0 s: rate>5/s held, all.rate was 20/s from 2.0 s on.",
		"profile-heap.pprof is of the first 2s of the measured time.",
	}
	if !slices.Equal(s.Inside, want) {
		t.Errorf("said: %q", s.Inside)
	}
	if len(s.Events) != 2 || s.Events[0].Kind != "cleaning" || s.Events[1].Kind != "stall" || s.Events[1].Length != 0.2 {
		t.Fatalf("events: %+v", s.Events)
	}
	for n, at := range []float64{-1, 1.5} { // independent of the server's clock
		if off := s.Events[n].Start - at; off < -0.5 || off > 0.5 {
			t.Errorf("%+v is %g s off", s.Events[n], off)
		}
	}
	if !slices.Contains(f.asked, "GET /debug/pprof/heap?seconds=2") || !slices.Contains(f.asked, "GET /events.json?since=3") ||
		f.asked[len(f.asked)-1] != "DELETE "+flightPath {
		t.Errorf("asked: %q", f.asked)
	}
}

// TestInspectionFails checks that a recorder that was already running continues, and that a missing
// profile is an error in the end.
func TestInspectionFails(t *testing.T) {
	f := fakeInside(t, http.StatusOK, http.StatusInternalServerError)
	s, err := f.look(t.Context(), t.TempDir())
	if err == nil || !strings.Contains(err.Error(), "500 Internal Server Error: profiled") {
		t.Error(err)
	}
	if !slices.ContainsFunc(s.Inside, func(note string) bool { return strings.HasPrefix(note, "WARNING: ") }) {
		t.Errorf("said: %q", s.Inside)
	}
	if slices.Contains(f.asked, "DELETE "+flightPath) {
		t.Errorf("asked: %q", f.asked)
	}
	f = fakeInside(t, http.StatusConflict, http.StatusOK)
	if _, err := f.look(t.Context(), t.TempDir()); err == nil || !strings.Contains(err.Error(), "start the flight recorder") {
		t.Error(err)
	}
}

// TestInspectionIsInterrupted checks that an interruption ends it at once, and is not an error.
func TestInspectionIsInterrupted(t *testing.T) {
	f := fakeInside(t, http.StatusCreated, http.StatusOK)
	ctx, cancel := context.WithCancel(t.Context())
	i, err := f.begin(ctx, t.TempDir(), &stress.Plan{Warmup: time.Hour, Duration: time.Hour})
	must.Do(t, err)
	cancel()
	s := &results.Summary{Started: time.Now(), Seconds: 1}
	if err := i.found(s); err != nil || len(s.Inside) != 0 {
		t.Errorf("%v, %q", err, s.Inside)
	}
	i.stop()
	if f.asked[len(f.asked)-1] != "DELETE "+flightPath {
		t.Errorf("the recorder runs on: %q", f.asked)
	}
}

func TestInsideUsage(t *testing.T) {
	closed := httptest.NewServer(nil)
	closed.Close()
	store := filepath.Join(t.TempDir(), "store")
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"run", "-t", "x", "--profile", "cpu"}, "are for a server with --debug-addr"},
		{[]string{"run", "-t", "x", "--flight-recorder", "p99>1s"}, "are for a server with --debug-addr"},
		{[]string{"run", "--dir", store, "--debug-addr", "127.0.0.1:1"}, "--debug-addr is for a server (-t)"},
		{[]string{"run", "--dir", store, "--profile", "cpu,odd"}, `profile "odd"`},
		{[]string{"run", "--dir", store, "--profile", "cpu,heap,cpu"}, "twice"},
		{[]string{"run", "--dir", store, "--profile", "cpu", "--count", "5"}, "--duration of a second or more"},
		{[]string{"run", "--dir", store, "--flight-recorder", "p99>5%"}, "one load alone has no change"},
		{[]string{"run", "--dir", store, "--flight-recorder", "cas.p99>5ms"}, `without "cas"`},
		{[]string{"run", "-t", "x", "-w", "tokyo", "--profile", "cpu"}, "--profile has no meaning for tokyo"},
	} {
		if err := run(c.args); err == nil || !strings.Contains(err.Error(), c.want) || exitStatus(err) != 1 {
			t.Errorf("%v: %v, want an error with: %s", c.args, err, c.want)
		}
	}
	l := &insideFlags{addr: strings.TrimPrefix(closed.URL, "http://")}
	in, err := l.check(&target{addr: "x"}, &stress.Plan{})
	must.Do(t, err)
	if _, err := l.open(t.Context(), in, nil); err == nil || !strings.Contains(err.Error(), "is that its --debug-addr?") {
		t.Errorf("nobody is there: %v", err)
	}
}
