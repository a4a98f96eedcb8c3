package debug

import (
	"context"
	_ "embed"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Options configure a Server.
type Options struct {
	Addr     string // host:port of --debug-addr; "": no server
	Insecure bool   // the address need not be a loopback address
	Record   bool   // start the flight recorder at once
	Program  string // shown on the page
	Version  string // of the program
	Log      *slog.Logger

	patience time.Duration // treePatience, or less in tests
}

// Server is the HTTP server that shows what happens inside a program.
type Server struct {
	opts    Options
	inside  inside
	serving atomic.Pointer[Serving] // nil while clients are not served
	sampler *sampler

	recorder recorder
	http     http.Server
	listener net.Listener
	ended    context.Context
	end      context.CancelFunc
	workers  sync.WaitGroup
}

// Start listens and answers from now on. Until Ready is called it answers that the program is not
// ready. It returns nil if there is no address.
func Start(o Options) (*Server, error) {
	if o.Addr == "" {
		return nil, nil
	}
	if o.patience == 0 {
		o.patience = treePatience
	}
	addr, err := o.resolve()
	if err != nil {
		return nil, err
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("--debug-addr %s: %w", o.Addr, err)
	}
	limited := &limitedListener{Listener: ln, places: make(chan struct{}, maxConnections)}
	s := &Server{opts: o, listener: limited}
	if o.Record {
		if _, err := s.recorder.start(); err != nil {
			ln.Close()
			return nil, err
		}
	}
	s.ended, s.end = context.WithCancel(context.Background())
	s.inside.asking = make(chan struct{}, 1)
	s.sampler = newSampler(s)
	s.http = http.Server{
		Handler: s.handler(), MaxHeaderBytes: maxHeaderBytes,
		ReadHeaderTimeout: headerTimeout, ReadTimeout: requestTimeout, IdleTimeout: idleTimeout,
		ConnState:   limited.state,
		BaseContext: func(net.Listener) context.Context { return s.ended },
		ErrorLog:    slog.NewLogLogger(o.Log.Handler(), slog.LevelWarn),
	}
	s.workers.Go(func() { s.sampler.run(s.ended) })
	s.workers.Go(func() {
		if err := s.http.Serve(s.listener); err != http.ErrServerClosed {
			o.Log.Error("the debug server has failed", "err", err)
		}
	})
	o.Log.Info("debug server", "url", "http://"+ln.Addr().String()+"/")
	return s, nil
}

// collectorTime selects the garbage collector's processor time, by kind of work.
var collectorTime = collectors.GoRuntimeMetricsRule{Matcher: regexp.MustCompile("^/cpu/classes/gc/")}

// handler returns a handler of all pages. It uses a mux of its own, because packages may add
// private pages to the default one.
func (s *Server) handler() http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		collectors.NewGoCollector(collectors.WithGoCollectorRuntimeMetrics(collectorTime)),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		collector{s},
	)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", servePage)
	mux.HandleFunc("GET /stats.json", s.serveReport)
	mux.HandleFunc("GET /events.json", s.serveEvents)
	mux.HandleFunc("GET /livez", serveAlive)
	mux.HandleFunc("GET /readyz", s.serveReady)
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	s.recorder.add(mux)
	addProfiles(mux)
	return s.guard(mux)
}

// Addr returns the address that the server listens on.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Close waits briefly for pending answers, and stops. It cuts off what takes longer, such as a
// profile.
func (s *Server) Close() {
	if s == nil {
		return
	}
	s.end()
	ctx, cancel := context.WithTimeout(context.Background(), stopGrace)
	defer cancel()
	if s.http.Shutdown(ctx) != nil {
		s.http.Close()
	}
	s.workers.Wait()
	s.recorder.stop()
}

//go:embed page.html
var page []byte

// servePage serves the live page, which needs only stats.json.
func servePage(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'")
	_, _ = w.Write(page)
}

// limitedListener limits the number of open connections. An idle connection is closed for a new
// one. If none is idle, new ones wait in the kernel.
type limitedListener struct {
	net.Listener
	places chan struct{}

	mu   sync.Mutex
	idle []net.Conn // the longest idle one first
}

// state is called for all state changes of connections.
func (l *limitedListener) state(c net.Conn, now http.ConnState) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.idle = slices.DeleteFunc(l.idle, func(i net.Conn) bool { return i == c })
	if now == http.StateIdle {
		l.idle = append(l.idle, c)
	}
	l.makeWay()
}

// makeWay closes the connection that has been idle longest if all places are taken. mu is held.
func (l *limitedListener) makeWay() {
	if len(l.places) == cap(l.places) && len(l.idle) > 0 {
		l.idle[0].Close()
		l.idle = l.idle[1:]
	}
}

func (l *limitedListener) Accept() (net.Conn, error) {
	l.mu.Lock()
	l.makeWay()
	l.mu.Unlock()
	l.places <- struct{}{}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.places
		return nil, err
	}
	return &limitedConn{Conn: c, leave: sync.OnceFunc(func() { <-l.places })}, nil
}

// limitedConn gives its place back when it is closed.
type limitedConn struct {
	net.Conn
	leave func()
}

func (c *limitedConn) Close() error {
	defer c.leave()
	return c.Conn.Close()
}

// setAnswerTime limits the time until the answer to a request is sent. making is the longest time
// that computing it takes.
func setAnswerTime(w http.ResponseWriter, making time.Duration) {
	// It fails only on a closed connection.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(making + answerTimeout))
}
