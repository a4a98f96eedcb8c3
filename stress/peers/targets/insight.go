package targets

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/procfs"
)

// insight reads a server's --debug-addr.
type insight struct{ addr string }

// freeAddr returns an address that is currently unused.
func freeAddr() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer ln.Close()
	return ln.Addr().String(), nil
}

// get fetches a page.
func (i insight) get(ctx context.Context, path string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, insightTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+i.addr+path, nil)
	if err != nil {
		return nil, err
	}
	request.Close = true
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, insightBytes))
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", path, answer.Status, text)
	}
	return text, err
}

// flushes returns the times of the flushes in the server's list of events.
func (i insight) flushes(ctx context.Context) (all []period, err error) {
	text, err := i.get(ctx, "/events.json")
	if err != nil {
		return nil, err
	}
	var list struct {
		Events []struct {
			Kind    string    `json:"kind"`
			Began   time.Time `json:"began"`
			Seconds float64   `json:"seconds"`
		} `json:"events"`
	}
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, fmt.Errorf("/events.json: %w", err)
	}
	for _, e := range list.Events {
		if e.Kind == "flush" {
			all = append(all, period{e.Began, e.Began.Add(time.Duration(e.Seconds * float64(time.Second)))})
		}
	}
	return all, nil
}

// cachedPart returns the fraction of its cache that a server has filled.
func (i insight) cachedPart(ctx context.Context) (float64, error) {
	text, err := i.get(ctx, "/stats.json")
	if err != nil {
		return 0, err
	}
	var stats struct {
		Tree struct {
			CachedPages float64 `json:"cached_pages"`
			CacheLimit  float64 `json:"cache_limit"`
		} `json:"tree"`
	}
	if err := json.Unmarshal(text, &stats); err != nil {
		return 0, fmt.Errorf("/stats.json: %w", err)
	}
	return stats.Tree.CachedPages / max(stats.Tree.CacheLimit, 1), nil
}

// collect makes a server run its garbage collector.
func (i insight) collect(ctx context.Context) error {
	_, err := i.get(ctx, "/debug/pprof/heap?gc=1")
	return err
}

// markingSeconds returns the processor time that a server has spent on marking for its garbage
// collector, up to the end of the last collection.
func (i insight) markingSeconds(ctx context.Context) (seconds float64, err error) {
	text, err := i.get(ctx, "/metrics")
	if err != nil {
		return 0, err
	}
	for _, by := range []string{"assist", "dedicated", "idle"} {
		name := "\ngo_cpu_classes_gc_mark_" + by + "_cpu_seconds_total "
		_, rest, found := strings.Cut(string(text), name)
		if !found {
			return 0, fmt.Errorf("/metrics has no %s", strings.TrimSpace(name))
		}
		line, _, _ := strings.Cut(rest, "\n")
		one, err := strconv.ParseFloat(line, 64)
		if err != nil {
			return 0, fmt.Errorf("/metrics: %s: %w", strings.TrimSpace(name), err)
		}
		seconds += one
	}
	return seconds, nil
}

// workedSeconds returns how much processor time a process has used.
func workedSeconds(pid int) (float64, error) {
	p, err := procfs.NewProc(pid)
	if err != nil {
		return 0, err
	}
	stat, err := p.Stat()
	return stat.CPUTime(), err
}

// residentBytes returns how much memory a process occupies.
func residentBytes(pid int) (float64, error) {
	p, err := procfs.NewProc(pid)
	if err != nil {
		return 0, err
	}
	stat, err := p.Stat()
	return float64(stat.ResidentMemory()), err
}

// writtenBytes returns how much a process has caused to be written to disks.
func writtenBytes(pid int) (float64, error) {
	p, err := procfs.NewProc(pid)
	if err != nil {
		return 0, err
	}
	io, err := p.IO()
	return float64(io.WriteBytes), err
}
