package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"kivaloo"
	"kivaloo/actors"
	"kivaloo/cmd/internal/commandline"
	"kivaloo/cmd/internal/debug"
	"kivaloo/stress"
	"kivaloo/stress/results"
)

const (
	// maxFetchBytes limits a profile or a recording. A trace of maxTrace of a busy server takes
	// tens of megabytes.
	maxFetchBytes = 512 << 20

	// maxListBytes is far more than a list of events has.
	maxListBytes = 4 << 20

	// maxErrorBytes is the length to which a refusal is shown.
	maxErrorBytes = 1 << 10

	// maxProfile is the longest profile that servers make.
	maxProfile = 10 * time.Minute

	// maxTrace is the part of the measured time that a trace covers: its file grows by megabytes a
	// second.
	maxTrace = 5 * time.Second

	// fetchPatience is how long an answer may take, in addition to the time span that it covers.
	fetchPatience = 30 * time.Second
)

// insideFlags are the flags for looking into the store.
type insideFlags struct {
	addr     string   // --debug-addr of the server
	profiles []string // names in profilePaths
	flight   string   // condition; "": no flight recorder
}

func (i *insideFlags) flags(f *pflag.FlagSet) {
	commandline.Text(f, &i.addr, "debug-addr", "", "HOST:PORT", "--debug-addr of the server, from where events such as stalls of its disk are taken; --profile and --flight-recorder need it too, unless --dir is given")
	f.StringSliceVar(&i.profiles, "profile", nil, "take these profiles while measuring: cpu, heap, mutex, block, trace (of the first 5 s)")
	commandline.Text(f, &i.flight, "flight-recorder", "", "CONDITION", "take a flight recording when a condition first holds in an interval, such as 'p99.9>50ms'")
}

// profilePaths has the path of each profile, without the time, and the name of its file.
var profilePaths = map[string]struct{ path, file string }{
	"cpu":   {"/debug/pprof/profile", "profile-cpu.pprof"},
	"heap":  {"/debug/pprof/heap", "profile-heap.pprof"},
	"mutex": {"/debug/pprof/mutex", "profile-mutex.pprof"},
	"block": {"/debug/pprof/block", "profile-block.pprof"},
	"trace": {"/debug/pprof/trace", "trace.out"},
}

// inside gives access to the inside of a store.
type inside struct {
	profiles  []string
	condition *results.Condition // nil: no flight recorder
	url       string             // of the server; for this process any URL will do
	client    *http.Client
	db        *kivaloo.DB // nil: a server has the events
}

// check checks the flags for a plan, before anything has begun.
func (i *insideFlags) check(t *target, p *stress.Plan) (*inside, error) {
	in := &inside{profiles: i.profiles}
	if i.addr != "" {
		web, err := t.Web(i.addr)
		if err != nil {
			return nil, fmt.Errorf("--debug-addr: %w", err)
		}
		in.url, in.client = web.String(), web.Patient()
	}
	for _, name := range i.profiles {
		if _, ok := profilePaths[name]; !ok {
			return nil, fmt.Errorf("profile %q: there are cpu, heap, mutex, block and trace", name)
		}
	}
	if slices.Sort(in.profiles); len(slices.Compact(slices.Clone(in.profiles))) < len(in.profiles) {
		return nil, errors.New("--profile names a profile twice")
	}
	switch {
	case len(i.profiles) > 0 && p.Duration < time.Second:
		return nil, errors.New("--profile is for a --duration of a second or more")
	case i.addr != "" && t.dir != "":
		return nil, errors.New("--debug-addr is for a server (-t); of a store in this process nothing more is needed")
	case i.addr == "" && t.dir == "" && (len(i.profiles) > 0 || i.flight != ""):
		return nil, errors.New("--profile and --flight-recorder are for a server with --debug-addr: start it with that, and say here what it was")
	}
	if i.flight != "" {
		c, err := results.ParseCondition(i.flight)
		if err == nil {
			err = c.ForIntervals(p.Mix)
		}
		if err != nil {
			return nil, fmt.Errorf("--flight-recorder: %w", err)
		}
		in.condition = &c
	}
	return in, nil
}

// open checks whether the inside is accessible. It returns nil if nothing was requested.
func (i *insideFlags) open(ctx context.Context, in *inside, store kivaloo.Store) (*inside, error) {
	if db, ok := store.(*kivaloo.DB); ok {
		in.db, in.client = db, debug.Own()
		return in, nil
	}
	if i.addr == "" {
		return nil, nil
	}
	if _, err := in.events(ctx, 0); err != nil {
		return nil, fmt.Errorf("look into the server: %w; is that its --debug-addr?", err)
	}
	return in, nil
}

// close releases what open has made.
func (in *inside) close() {
	if in != nil {
		in.client.CloseIdleConnections()
	}
}

// ask makes a request and returns its answer, or an error if it was refused. The caller must close
// the body.
func (in *inside) ask(ctx context.Context, method, path string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, method, in.url+path, nil)
	if err != nil {
		return nil, err
	}
	answer, err := in.client.Do(r)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode/100 == 2 {
		return answer, nil
	}
	defer answer.Body.Close()
	why, _ := io.ReadAll(io.LimitReader(answer.Body, maxErrorBytes))
	return nil, fmt.Errorf("%s %s: %s: %s", method, r.URL, answer.Status, strings.TrimSpace(string(why)))
}

// fetch gets what is at path into a new file. spans is the time span that it covers.
func (in *inside) fetch(ctx context.Context, path, file string, spans time.Duration) (err error) {
	ctx, cancel := context.WithTimeout(ctx, spans+fetchPatience)
	defer cancel()
	answer, err := in.ask(ctx, http.MethodGet, path)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	n, err := io.Copy(f, io.LimitReader(answer.Body, maxFetchBytes+1))
	if err == nil && n > maxFetchBytes {
		err = fmt.Errorf("more than %d bytes", maxFetchBytes)
	}
	if err == nil {
		err = ctx.Err() // what this process makes just ends then
	}
	if err = errors.Join(err, f.Close()); err != nil {
		os.Remove(file)
		return fmt.Errorf("get %s: %w", path, err)
	}
	return nil
}

// events returns the events from a number on, with times of this machine's clock. The server's
// clock may be different.
func (in *inside) events(ctx context.Context, since uint64) (debug.EventList, error) {
	if in.db != nil {
		found, next := in.db.Events(since)
		var events []actors.Event
		for _, e := range found {
			events = append(events, actors.Event(e))
		}
		return debug.ListEvents(since, events, next), nil
	}
	ctx, cancel := context.WithTimeout(ctx, fetchPatience)
	defer cancel()
	var list debug.EventList
	sent := time.Now()
	answer, err := in.ask(ctx, http.MethodGet, fmt.Sprintf("/events.json?since=%d", since))
	if err != nil {
		return list, err
	}
	came := time.Now()
	defer answer.Body.Close()
	if err := json.NewDecoder(io.LimitReader(answer.Body, maxListBytes)).Decode(&list); err != nil {
		return list, fmt.Errorf("%s: %w", answer.Request.URL, err)
	}
	ahead := list.Now.Sub(sent.Add(came.Sub(sent) / 2))
	for i := range list.Events {
		list.Events[i].Began = list.Events[i].Began.Add(-ahead)
	}
	return list, nil
}
