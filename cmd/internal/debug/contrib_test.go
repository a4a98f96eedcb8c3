package debug

import (
	"encoding/json"
	"errors"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"kivaloo"
	library "kivaloo/contrib/collector"
	"kivaloo/internal/must"
	"kivaloo/tree"
	"kivaloo/wire/wiretest"
)

// root is the module's directory.
var root = filepath.Join("..", "..", "..")

func readFile(t *testing.T, path ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(append([]string{root}, path...)...))
	must.Do(t, err)
	return string(text)
}

// TestMetricsAreThoseSpokenOf checks that every metric mentioned in the documents exists, and that
// every existing one is explained.
func TestMetricsAreThoseSpokenOf(t *testing.T) {
	l := look(t)
	l.serve()
	l.inside.loop.Requests[tree.Get].Add(time.Millisecond) // operations appear once they were used
	exist := make(map[string]bool)
	for _, found := range regexp.MustCompile(`(?m)^# TYPE (kivaloo_\w+) `).FindAllStringSubmatch(l.want("/metrics", 200)+libraryMetrics(t), -1) {
		exist[found[1]] = true
	}
	if len(exist) < 20 {
		t.Fatalf("only %d metrics", len(exist))
	}
	names := regexp.MustCompile(`\bkivaloo_[a-z_]+\b`)
	for _, path := range []string{"docs/monitoring.md", "contrib/prometheus/kivaloo.rules.yml", "contrib/grafana/kivaloo.json"} {
		found := names.FindAllString(readFile(t, path), -1)
		if len(found) == 0 {
			t.Errorf("%s speaks of no metric", path)
		}
		for _, name := range found {
			base := name
			for _, part := range []string{"_bucket", "_sum", "_count"} {
				base = strings.TrimSuffix(base, part)
			}
			if !exist[name] && !exist[base] {
				t.Errorf("%s speaks of %s, which does not exist", path, name)
			}
		}
	}
	manual := readFile(t, "docs/monitoring.md")
	for name := range exist {
		if !strings.Contains(manual, "`"+name+"`") {
			t.Errorf("docs/monitoring.md does not explain %s", name)
		}
	}
}

// TestCollectorHasTheSameMetrics checks that the collector for embedded DBs has the same names,
// help texts and kinds as the server.
func TestCollectorHasTheSameMetrics(t *testing.T) {
	l := look(t)
	l.serve()
	server := l.want("/metrics", 200)
	found := regexp.MustCompile(`(?m)^# HELP .*\n# TYPE .*\n`).FindAllString(libraryMetrics(t), -1)
	if len(found) < 28 {
		t.Errorf("only %d metrics", len(found))
	}
	for _, metric := range found {
		if !strings.Contains(metric, " kivaloo_client_") && !strings.Contains(server, metric) {
			t.Errorf("the server does not have\n%s", metric)
		}
	}
}

// libraryMetrics returns the metrics of a program with an embedded DB and a Client.
func libraryMetrics(t *testing.T) string {
	t.Helper()
	db, err := kivaloo.OpenMemory(kivaloo.Options{})
	must.Do(t, err)
	defer db.Close()
	addr, stop, err := (&wiretest.Server{}).Start(t.TempDir())
	must.Do(t, err)
	defer stop()
	client, err := kivaloo.Dial(t.Context(), addr, kivaloo.DialOptions{})
	must.Do(t, err)
	defer client.Close()
	registry := prometheus.NewRegistry()
	registry.MustRegister(library.DB(db), library.Client(client))
	answer := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	return answer.Body.String()
}

func TestDashboard(t *testing.T) {
	var d struct {
		Panels []struct {
			ID      int
			Title   string
			Targets []struct{ Expr string }
			GridPos struct{ X, Y, W, H int }
		}
	}
	must.Do(t, json.Unmarshal([]byte(readFile(t, "contrib/grafana/kivaloo.json")), &d))
	ids := make(map[int]bool)
	for _, p := range d.Panels {
		if ids[p.ID] || p.Title == "" || len(p.Targets) == 0 || p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("panel %+v", p)
		}
		ids[p.ID] = true
	}
	if len(ids) < 8 {
		t.Errorf("%d panels", len(ids))
	}
}

// TestAlertsAreInTheManual checks that the manual describes exactly the existing alerts.
func TestAlertsAreInTheManual(t *testing.T) {
	find := func(path, pattern string) (names []string) {
		for _, found := range regexp.MustCompile(pattern).FindAllStringSubmatch(readFile(t, path), -1) {
			names = append(names, found[1])
		}
		slices.Sort(names)
		return names
	}
	rules := find("contrib/prometheus/kivaloo.rules.yml", `(?m)^ +- alert: (\w+)$`)
	manual := find("docs/monitoring.md", "(?m)^\\| `(Kivaloo\\w+)` \\| .{20}")
	if len(rules) < 10 || !slices.Equal(rules, manual) {
		t.Errorf("rules %v, the manual has %v", rules, manual)
	}
}

// TestRules runs Prometheus's own tool. It checks the rules, and that each alert fires when it
// should.
func TestRules(t *testing.T) {
	const test = "contrib/prometheus/kivaloo.test.yml"
	said, err := exec.Command("promtool", "test", "rules", filepath.Join(root, test)).CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		t.Skip("no promtool")
	}
	if err != nil {
		t.Errorf("%s: %v\n%s", test, err, said)
	}
}
