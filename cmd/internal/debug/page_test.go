package debug

import (
	"context"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"kivaloo/tree"
)

// TestPageInBrowser checks in a browser that the page shows the activity, and that its script logs
// no error.
func TestPageInBrowser(t *testing.T) {
	browser, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("no chromium")
	}
	l := look(t)
	s := l.serve()
	for range 12 {
		s.do(tree.Request{Op: tree.Get, Key: []byte("absent")})
	}
	l.OnSync()(250 * time.Millisecond)
	l.inside.loop.Requests[tree.Get].AddN(3*time.Millisecond, 12)
	for l.sampler.report().Tree == nil || len(l.sampler.report().Ops) == 0 || len(l.sampler.report().Events) == 0 {
		time.Sleep(10 * time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, browser, "--headless", "--no-sandbox", "--disable-gpu", "--user-data-dir="+t.TempDir(),
		"--enable-logging=stderr", "--virtual-time-budget=3000", "--dump-dom", "http://"+l.Addr()+"/")
	var said strings.Builder
	cmd.Stderr = &said
	page, err := cmd.Output()
	if err != nil {
		t.Skipf("chromium does not run: %v", err)
	}
	text := regexp.MustCompile(`(?s)<script>.*</script>|<style>.*</style>|<[^>]*>`).ReplaceAllString(string(page), " ")
	for _, want := range []string{"ready", `get +not done +[\d.]+ +12\b`, `Levels above the leaves +0\b`, `Garbage ratio[^0-9]+1\.00`, `get +[\d.]+ +([\d.]+ (ms|µs)|–) `, `queue +[\d.]+ [^A-Z]*Requests wait until`, `Request latency, p99 `, `−5 min`, `now`, `fsync stall +\d+:\d\d:\d\d +250 ms`} {
		if !regexp.MustCompile(want).MatchString(text) {
			t.Errorf("no %s in %s", want, text)
		}
	}
	if strings.Contains(said.String(), "CONSOLE") {
		t.Errorf("the console: %s", said.String())
	}
}
