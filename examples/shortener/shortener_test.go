package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"kivaloo"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newStore returns a store that is closed after the test.
func newStore(t *testing.T) kivaloo.Store {
	t.Helper()
	db, err := kivaloo.Open(t.TempDir(), kivaloo.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

// newHandler returns a handler, and its log.
func newHandler(store kivaloo.Store, newCode func() string) (http.Handler, *bytes.Buffer) {
	logged := new(bytes.Buffer)
	s := &shortener{store, slog.New(slog.NewTextHandler(logged, nil)), newCode}
	return s.handler(), logged
}

// request makes a handler answer a request. It posts the form, if there is one.
func request(h http.Handler, path, form string) *http.Response {
	r := httptest.NewRequest("GET", path, nil)
	if form != "" {
		r = httptest.NewRequest("POST", path, strings.NewReader(form))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

// post requests a short link.
func post(h http.Handler, link string) *http.Response {
	return request(h, "/", url.Values{"url": {link}}.Encode())
}

func TestLinks(t *testing.T) {
	h, _ := newHandler(newStore(t), randomCode)
	codes := make(map[string]bool)
	for _, link := range []string{"https://go.dev/doc/", "http://localhost:1/a?b=c#d", "https://go.dev/doc/"} {
		created := post(h, link)
		body, err := io.ReadAll(created.Body)
		path := created.Header.Get("Location")
		if created.StatusCode != http.StatusCreated || err != nil || string(body) != "http://example.com"+path+"\n" {
			t.Fatalf("%s: status %d, %q, %v", link, created.StatusCode, body, err)
		}
		if codes[path] {
			t.Errorf("%s is given twice", path)
		}
		codes[path] = true
		r := request(h, path, "")
		if to := r.Header.Get("Location"); r.StatusCode != http.StatusFound || to != link {
			t.Errorf("%s: status %d, leads to %q, want %q", path, r.StatusCode, to, link)
		}
	}
}

func TestRefusals(t *testing.T) {
	h, _ := newHandler(newStore(t), randomCode)
	for _, c := range []struct {
		name   string
		got    *http.Response
		status int
	}{
		{"no link", request(h, "/", "other=field"), http.StatusBadRequest},
		{"no host", post(h, "https:///path"), http.StatusBadRequest},
		{"not for browsers", post(h, "javascript://x/%0aalert(1)"), http.StatusBadRequest},
		{"relative", post(h, "//go.dev/"), http.StatusBadRequest},
		{"two lines", post(h, "https://go.dev/\r\nSet-Cookie: x"), http.StatusBadRequest},
		{"longer than a value", post(h, "https://go.dev/"+strings.Repeat("x", kivaloo.MaxLen)), http.StatusBadRequest},
		{"longer than a form", post(h, "https://go.dev/"+strings.Repeat("x", maxFormBytes)), http.StatusBadRequest},
		{"form elsewhere", request(h, "/else", "url=https://go.dev/"), http.StatusMethodNotAllowed},
		{"unknown code", request(h, "/"+strings.Repeat("x", codeLen), ""), http.StatusNotFound},
		{"long code", request(h, "/"+strings.Repeat("x", 1000), ""), http.StatusNotFound},
		{"no code", request(h, "/", ""), http.StatusMethodNotAllowed},
	} {
		if c.got.StatusCode != c.status {
			t.Errorf("%s: status %d, want %d", c.name, c.got.StatusCode, c.status)
		}
	}
}

// TestCollision checks that if two links get the same code, the second one gets another code, and
// the first stays.
func TestCollision(t *testing.T) {
	codes := []string{"aaaaaaaa", "aaaaaaaa", "bbbbbbbb"}
	next := func() string {
		code := codes[0]
		if len(codes) > 1 {
			codes = codes[1:]
		}
		return code
	}
	h, logged := newHandler(newStore(t), next)
	for _, c := range []struct{ link, path string }{{"https://first/", "/aaaaaaaa"}, {"https://second/", "/bbbbbbbb"}} {
		if got := post(h, c.link).Header.Get("Location"); got != c.path {
			t.Errorf("%s is at %q, want %q", c.link, got, c.path)
		}
		if got := request(h, c.path, "").Header.Get("Location"); got != c.link {
			t.Errorf("%s leads to %q, want %q", c.path, got, c.link)
		}
	}
	if r := post(h, "https://third/"); r.StatusCode != http.StatusServiceUnavailable || !strings.Contains(logged.String(), "all in use") {
		t.Errorf("no code is free: status %d, logged %q", r.StatusCode, logged)
	}
}

// broken is a store that cannot be reached.
type broken struct{ kivaloo.Store }

var errBroken = errors.New("out of order")

func (broken) Get(context.Context, []byte) ([]byte, error)       { return nil, errBroken }
func (broken) Add(context.Context, []byte, []byte) (bool, error) { return false, errBroken }

// TestBrokenStore checks that errors of the store are reported to the operator, not to the client.
func TestBrokenStore(t *testing.T) {
	h, logged := newHandler(broken{}, randomCode)
	for _, r := range []*http.Response{post(h, "https://go.dev/"), request(h, "/aaaaaaaa", "")} {
		body, _ := io.ReadAll(r.Body)
		if r.StatusCode != http.StatusServiceUnavailable || strings.Contains(string(body), errBroken.Error()) {
			t.Errorf("status %d, %q", r.StatusCode, body)
		}
	}
	if n := strings.Count(logged.String(), errBroken.Error()); n != 2 {
		t.Errorf("logged %q", logged)
	}
}

// TestStop checks that a pending request is answered when the server stops.
func TestStop(t *testing.T) {
	ln, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	slow := func(w http.ResponseWriter, _ *http.Request) {
		stop()
		<-ctx.Done()
		io.WriteString(w, "done")
	}
	ended := make(chan error, 1)
	go func() { ended <- serve(ctx, ln, http.HandlerFunc(slow)) }()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := client.Get("http://" + ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if body, err := io.ReadAll(r.Body); string(body) != "done" || err != nil {
		t.Errorf("answered %q, %v", body, err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := client.Get("http://" + ln.Addr().String()); err == nil {
		t.Error("it is still serving")
	}
}

func TestOneStore(t *testing.T) {
	for _, c := range [][2]string{{"", ""}, {"./dir", "./addr"}} {
		if _, err := open(t.Context(), c[0], c[1]); err == nil {
			t.Errorf("-dir %q -addr %q is accepted", c[0], c[1])
		}
	}
}
