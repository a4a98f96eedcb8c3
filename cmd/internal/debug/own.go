package debug

import (
	"fmt"
	"io"
	"net/http"
	"sync"
)

// Own returns a client that gets the profiles and flight recordings of this process, at any host
// name, and nothing else. It opens no socket that others could connect to.
func Own() *http.Client {
	mux := http.NewServeMux()
	(&recorder{}).add(mux)
	addProfiles(mux)
	return &http.Client{Transport: own{mux}}
}

// own handles requests in this process.
type own struct{ handler http.Handler }

// RoundTrip implements http.RoundTripper. The answer is made while it is read, until it is closed.
func (o own) RoundTrip(r *http.Request) (*http.Response, error) {
	body, out := io.Pipe()
	a := &ownAnswer{header: make(http.Header), out: out, begun: make(chan struct{})}
	go func() {
		o.handler.ServeHTTP(a, r)
		a.WriteHeader(http.StatusOK)
		out.Close()
	}()
	<-a.begun
	return &http.Response{
		Status: fmt.Sprint(a.status, " ", http.StatusText(a.status)), StatusCode: a.status, Header: a.sent,
		Body: body, ContentLength: -1, Request: r,
	}, nil
}

// ownAnswer is an http.ResponseWriter that writes to the caller.
type ownAnswer struct {
	header http.Header
	out    *io.PipeWriter
	once   sync.Once
	begun  chan struct{}
	status int         // set when begun is closed
	sent   http.Header // likewise
}

func (a *ownAnswer) Header() http.Header { return a.header }

// WriteHeader begins the answer when it is called first.
func (a *ownAnswer) WriteHeader(status int) {
	a.once.Do(func() {
		a.status, a.sent = status, a.header.Clone()
		close(a.begun)
	})
}

func (a *ownAnswer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.out.Write(p)
}
