package blackbox

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	kv "kivaloo"
	"kivaloo/cmd/internal/blackbox/history"
	"kivaloo/cmd/internal/blackbox/kvtest"
	"kivaloo/cmd/internal/daemon/daemontest"
	"kivaloo/internal/must"
)

// bucketService is an S3 service with one bucket, "b". Some requests fail before they do anything,
// and the answers to some are lost.
type bucketService struct {
	url   string
	inner http.Handler

	mu     sync.Mutex
	random *rand.Rand
	faults float64 // part of the requests
	down   bool    // all of them fail
}

func newBucketService(t *testing.T) *bucketService {
	t.Helper()
	backend := s3mem.New()
	must.Do(t, backend.CreateBucket("b"))
	b := &bucketService{inner: gofakes3.New(backend).Server(), random: daemontest.Seeded(t), faults: 0.02}
	server := httptest.NewServer(b)
	t.Cleanup(server.Close)
	b.url = server.URL
	return b
}

func (b *bucketService) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	fails, loses, down := b.random.Float64() < b.faults, b.random.Float64() < b.faults, b.down
	b.mu.Unlock()
	if down || fails {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	if loses {
		b.inner.ServeHTTP(httptest.NewRecorder(), r)
		panic(http.ErrAbortHandler)
	}
	b.inner.ServeHTTP(w, r)
}

func (b *bucketService) setDown(down bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.down = down
}

// s3Serve is kivaloo serve with its store in a bucket.
type s3Serve struct{ *serve }

func newS3Serve(t *testing.T, b *bucketService, options ...string) s3Serve {
	t.Helper()
	s := newServe(t, append([]string{"--store", "s3://b/store", "--s3-endpoint", b.url, "--s3-region", "us-east-1", "--s3-path-style", "--commit-delay", "1ms"}, options...)...)
	s.env = []string{"AWS_ACCESS_KEY_ID=id", "AWS_SECRET_ACCESS_KEY=secret", "AWS_EC2_METADATA_DISABLED=true", "AWS_CONFIG_FILE=/nowhere", "AWS_SHARED_CREDENTIALS_FILE=/nowhere"}
	return s3Serve{s}
}

// idle is false: the directory holds no store to be checked.
func (s s3Serve) idle() bool { return false }

func TestCrashesOverS3(t *testing.T) {
	t.Parallel()
	for name, journal := range map[string]string{"journal": "64M", "short journal": "4k", "pages": "0"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newS3Serve(t, newBucketService(t), "--block-size", "2048", "--cache", "2100k", "--journal", journal)
			crashOften(t, s, func(*testing.T, *rand.Rand) {})
			s.stop(t)
		})
	}
}

func newServedS3(t *testing.T, o historyOptions) history.Engine {
	b := newBucketService(t)
	b.faults = 0.002 // a repetition takes time, and there are many commits
	return &remote{t: t, system: newS3Serve(t, b, o.serve()...), number: 3}
}

// Whoever starts last is the writer. The one before it ends with an error that says who that is, at
// its next change or soon, and has acknowledged nothing that is lost.
func TestTakeOverS3(t *testing.T) {
	t.Parallel()
	b := newBucketService(t)
	first, second := newS3Serve(t, b), newS3Serve(t, b)
	first.start(t)
	var load sync.WaitGroup
	acked := 0
	load.Go(func() {
		c, err := kvtest.Dial(t.Context(), first.addr())
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		for c.Set("last", fmt.Sprint(acked+1)) == nil {
			acked++
		}
	})
	time.Sleep(300 * time.Millisecond)
	second.start(t)
	if status := first.process.Wait(t); status.ExitStatus() != 1 || !strings.Contains(first.said(t), fmt.Sprintf("process %d", second.process.Pid)) {
		t.Errorf("the first writer: status %#x, it said\n%s", status, first.said(t))
	}
	load.Wait()
	db, err := kv.Dial(t.Context(), second.addr(), kv.DialOptions{})
	must.Do(t, err)
	value, err := db.Get(t.Context(), []byte("last"))
	must.Do(t, err)
	must.Do(t, db.Close())
	if acked == 0 || string(value) != fmt.Sprint(acked) && string(value) != fmt.Sprint(acked+1) {
		t.Errorf("%d changes were acknowledged, and the last one is %q", acked, value)
	}
	second.stop(t)
}

// While the service is down, changes wait, and reads of what is in memory go on.
func TestS3Outage(t *testing.T) {
	t.Parallel()
	b := newBucketService(t)
	s := newS3Serve(t, b, "--debug-addr", "127.0.0.1:0")
	s.start(t)
	c, err := kvtest.Dial(t.Context(), s.addr())
	must.Do(t, err)
	defer c.Close()
	must.Do(t, c.Set("k", "before"))
	b.setDown(true)
	changed := make(chan error, 1)
	go func() {
		d, err := kvtest.Dial(t.Context(), s.addr())
		if err == nil {
			defer d.Close()
			err = d.Set("k", "during")
		}
		changed <- err
	}()
	for range 20 {
		if v, err := c.Get("k"); err != nil || string(v) != "before" {
			t.Fatalf("a read during the outage: %q, %v", v, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
	select {
	case err := <-changed:
		t.Fatalf("a change was answered during the outage: %v", err)
	default:
	}
	b.setDown(false)
	must.Do(t, <-changed)
	_, page := lookInto(t, s.said(t)).get(t, "/metrics")
	if !regexp.MustCompile(`(?m)^kivaloo_bucket_failures_total\{kind="PUT"\} [1-9]`).MatchString(page) {
		t.Error("/metrics shows no PUT that failed")
	}
	s.stop(t)
}

// What cannot be is refused before anything is made.
func TestServeS3Refuses(t *testing.T) {
	t.Parallel()
	b := newBucketService(t)
	local := newServe(t)
	local.start(t)
	local.stop(t)
	for want, args := range map[string][]string{
		"is not an address like s3://":            {"--store", "http://b/x"},
		"holds a store":                           {"--store", "s3://b/x", "--dir", local.dir()},
		"--scrub-rate is of no use":               {"--store", "s3://b/x", "--scrub-rate", "1M"},
		"need --store":                            {"--store", ""},
		"is not a URL like":                       {"--store", "s3://b/x", "--s3-endpoint", "127.0.0.1:1"},
		"--no-sync is of no use":                  {"--store", "s3://b/x", "--no-sync"},
		"NoSuchBucket":                            {"--store", "s3://none/x"},
		"want 1024 to":                            {"--store", "s3://b/x", "--cache", "1k"},
		"no region is set":                        {"--store", "s3://b/x", "--s3-region", ""},
		"can be reached from other machines, and": {"--store", "s3://b/x", "--listen", "0.0.0.0:1"},
	} {
		s := newS3Serve(t, b, args...)
		out, err := s.command().CombinedOutput()
		if err == nil || !strings.Contains(string(out), want) {
			t.Errorf("%v: %v, %s; want an error with %q", args, err, out, want)
		}
		if err := exec.Command("test", "-e", s.dir()).Run(); err == nil {
			t.Errorf("%v: it has made %s", args, s.dir())
		}
	}
}
