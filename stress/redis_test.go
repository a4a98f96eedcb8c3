package stress

import (
	"bytes"
	"context"
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

// compareSelf runs a small comparison in which the test program plays all parts, and
// checks that it leaves nothing behind.
func compareSelf(t *testing.T, ctx context.Context, fault string) (report, progress string, err error) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	t.Setenv(faultVar, fault)
	t.Setenv("GORACE", "atexit_sleep_ms=0") // or each part played takes a second longer to end under -race
	o := RedisOptions{Serve: self, Server: self, Benchmark: self, Pairs: 5000, Rounds: 3, Seed: 1}
	var out, said bytes.Buffer
	err = CompareRedis(ctx, o, &out, &said)
	if left, _ := os.ReadDir(tmp); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	return out.String(), said.String(), err
}

func TestCompareRedis(t *testing.T) {
	report, progress, err := compareSelf(t, context.Background(), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`5000 pairs of 40\+40 bytes, 4096 requests in flight`,
		`kivaloo ordered load +[1-9]\d* +[1-9]\d* *\n`,
		`Redis SET, synced +400000 +400000 *\n`, // half a request per second rounds to even
		`kivaloo random GET +[1-9]\d* +[1-9]\d* +[1-9]\d* +[1-9]\d* *\n`,
		`Redis GET +900000 +900000 +900000 +900000 *\n`,
		`random GET / Redis GET +\d+\.\d\d +target 1\.0: (reached|MISSED)`,
		`ordered load / Redis SET +\d+\.\d\d +target 1\.5: (reached|MISSED)`,
		`collected garbage 0 times during 15000 GETs`,
	} {
		if !regexp.MustCompile(want).MatchString(report) {
			t.Errorf("no %q in:\n%s", want, report)
		}
	}
	if !strings.Contains(progress, "round 3 of 3") {
		t.Errorf("progress:\n%s", progress)
	}
}

func TestCompareRedisFails(t *testing.T) {
	for fault, want := range map[string]string{
		"serve dies":            "kivaloo serve: it ended early: exit status 3; it said:\ndisk on fire",
		"serve dies later":      "kivaloo serve: it ended, exit status 2: after 0 answers, with 4096 requests outstanding: ",
		"serve answers wrongly": "header checksum mismatch",
		"benchmark fails":       "redis-benchmark SET: exit status 1\nno memory",
		"benchmark babbles":     "redis-benchmark SET printed what cannot be understood: 1 lines instead of two\nall is well",
	} {
		t.Run(fault, func(t *testing.T) {
			report, _, err := compareSelf(t, context.Background(), fault)
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want an error with: %s", err, want)
			}
			if fault == "serve dies later" && !strings.Contains(err.Error(), "panic: disk on fire") {
				t.Errorf("%v, without what the server said", err)
			}
			if report != "" {
				t.Errorf("it reports all the same:\n%s", report)
			}
		})
	}
}

// Ending it while redis-benchmark runs ends all its processes.
func TestCompareRedisInterrupted(t *testing.T) {
	ctx, cancel := context.WithTimeoutCause(context.Background(), 300*time.Millisecond, errors.New("interrupted"))
	defer cancel()
	start := time.Now()
	if _, _, err := compareSelf(t, ctx, "benchmark hangs"); err == nil || err.Error() != "interrupted" {
		t.Errorf("%v", err)
	}
	if took := time.Since(start); took > stopGrace {
		t.Errorf("it took %v", took)
	}
}

func TestRedisOptions(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	good := RedisOptions{Server: self, Benchmark: self, Pairs: 1, Rounds: 1}
	for want, change := range map[string]func(o *RedisOptions){
		"0 pairs and 1 rounds":     func(o *RedisOptions) { o.Pairs = 0 },
		"1 pairs and 0 rounds":     func(o *RedisOptions) { o.Rounds = 0 },
		"apt install redis-server": func(o *RedisOptions) { o.Server = "no-such-server" },
		"no-such-benchmark":        func(o *RedisOptions) { o.Benchmark = "no-such-benchmark" },
	} {
		o := good
		change(&o)
		err := CompareRedis(context.Background(), o, &bytes.Buffer{}, &bytes.Buffer{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want an error with: %s", err, want)
		}
	}
}

func TestBenchmarkRate(t *testing.T) {
	const real = `"test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms","p95_latency_ms","p99_latency_ms","max_latency_ms"
"GET key:__rand_int__","1000000.00","2.101","0.408","2.079","2.759","3.479","4.583"
`
	if rate, err := benchmarkRate(real); rate != 1000000 || err != nil {
		t.Errorf("%v, %v", rate, err)
	}
	for _, bad := range []string{"", "\"open\n", "a,b\n1,2\n", "rps\nfast\n", "rps\n1\n2\n"} {
		if rate, err := benchmarkRate(bad); err == nil {
			t.Errorf("%q gives %v", bad, rate)
		}
	}
}
