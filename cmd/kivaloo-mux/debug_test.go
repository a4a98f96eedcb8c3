package main

import (
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"kivaloo/internal/must"
)

// TestLookInside checks that --debug-addr makes the mux show its inside, and that it reports the
// address.
func TestLookInside(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.startTarget(t)
	mux := p.foreground(t, "--debug-addr", "127.0.0.1:0")
	found := regexp.MustCompile(`url=(http://127\.0\.0\.1:\d+)/`).FindStringSubmatch(mux.said(t))
	if found == nil {
		t.Fatalf("no address to look in: %s", mux.said(t))
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	get := func(path string) string {
		answer, err := client.Get(found[1] + path)
		must.Do(t, err)
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		must.Do(t, err)
		return string(body)
	}
	mustServe(t, dial(t, p.socket()))
	mustServe(t, dial(t, p.socket()))
	must.Eventually(t, "it is ready", func() bool { return get("/readyz") == "ready\n" })
	must.Eventually(t, "the page shows what was asked", func() bool {
		return strings.Contains(get("/stats.json"), `"op":"get","status":"ok"`)
	})
	if page := get("/metrics"); !strings.Contains(page, "\nkivaloo_requests_total{op=\"set\",status=\"ok\"} 2\n") {
		t.Errorf("what was asked is not counted: %.2000s", page)
	}
	for path, text := range map[string]string{
		"/metrics":                       "\nkivaloo_connections 2\n",
		"/stats.json":                    `"program":"kivaloo-mux"`,
		"/debug/pprof/goroutine?debug=1": "goroutine profile",
	} {
		if page := get(path); !strings.Contains(page, text) {
			t.Errorf("%s: no %q in %.2000s", path, text, page)
		}
	}
}

// TestLookInsideIsLocal checks that an address that other machines can reach is refused, and that
// the error names the option that allows it.
func TestLookInsideIsLocal(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	r := p.run(t, p.args("--debug-addr", "0.0.0.0:0")...)
	if r.Status.ExitStatus() != 1 || !strings.Contains(r.Output, "--insecure-debug") {
		t.Errorf("status %v, said %q", r.Status, r.Output)
	}
	if !absent(p.socket()) {
		t.Error("there is a socket")
	}
}
