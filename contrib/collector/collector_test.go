package collector

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"kivaloo"
	"kivaloo/internal/must"
	"kivaloo/wire/wiretest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// lint checks names and help texts.
func lint(t *testing.T, c prometheus.Collector) {
	t.Helper()
	problems, err := testutil.CollectAndLint(c)
	must.Do(t, err)
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestDB(t *testing.T) {
	db, err := kivaloo.OpenMemory(kivaloo.Options{BlockSize: 1024})
	must.Do(t, err)
	defer db.Close()
	for _, key := range []string{"a", "b", "c"} {
		must.Do(t, db.Set(t.Context(), []byte(key), []byte("value")))
	}
	c := DB(db)
	lint(t, c)
	s := db.Stats()
	if s.Commits != 3 || s.DiskBytes == 0 || s.MemtableBytes == 0 {
		t.Fatalf("%+v", s)
	}
	must.Do(t, testutil.CollectAndCompare(c, strings.NewReader(`
# HELP kivaloo_commits_total Commits that have changed something.
# TYPE kivaloo_commits_total counter
kivaloo_commits_total 3
# HELP kivaloo_read_only 1 if no change can be made durable now, else 0.
# TYPE kivaloo_read_only gauge
kivaloo_read_only 0
# HELP kivaloo_store_block_bytes Size of a block, and so of a page.
# TYPE kivaloo_store_block_bytes gauge
kivaloo_store_block_bytes 1024
# HELP kivaloo_memtables Memtables that hold changes.
# TYPE kivaloo_memtables gauge
kivaloo_memtables 1
`), "kivaloo_commits_total", "kivaloo_read_only", "kivaloo_store_block_bytes", "kivaloo_memtables"))

	must.Do(t, db.Close())
	if n := testutil.CollectAndCount(c); n != 0 {
		t.Errorf("%d metrics of a DB that is closed", n)
	}
}

func TestClient(t *testing.T) {
	server := &wiretest.Server{}
	addr, stop, err := server.Start(t.TempDir())
	must.Do(t, err)
	defer stop()
	client, err := kivaloo.Dial(t.Context(), addr, kivaloo.DialOptions{Window: 16})
	must.Do(t, err)
	defer client.Close()
	must.Do(t, client.Set(t.Context(), []byte("key"), []byte("value")))
	c := Client(client)
	lint(t, c)
	must.Do(t, testutil.CollectAndCompare(c, strings.NewReader(`
# HELP kivaloo_client_answers_total Requests that were answered.
# TYPE kivaloo_client_answers_total counter
kivaloo_client_answers_total 1
# HELP kivaloo_client_connected 1 if there is a connection now, else 0.
# TYPE kivaloo_client_connected gauge
kivaloo_client_connected 1
# HELP kivaloo_client_connection_losses_total Connections that were lost.
# TYPE kivaloo_client_connection_losses_total counter
kivaloo_client_connection_losses_total 0
# HELP kivaloo_client_connects_total Connections that were made.
# TYPE kivaloo_client_connects_total counter
kivaloo_client_connects_total 1
# HELP kivaloo_client_outstanding_requests Requests that wait for their answer.
# TYPE kivaloo_client_outstanding_requests gauge
kivaloo_client_outstanding_requests 0
# HELP kivaloo_client_request_failures_total Requests that were sent and whose connection was lost before the answer.
# TYPE kivaloo_client_request_failures_total counter
kivaloo_client_request_failures_total 0
# HELP kivaloo_client_requests_total Requests that were sent.
# TYPE kivaloo_client_requests_total counter
kivaloo_client_requests_total 1
# HELP kivaloo_client_window_requests Requests that can be outstanding before callers wait.
# TYPE kivaloo_client_window_requests gauge
kivaloo_client_window_requests 16
`)))

	server.HangUp()
	must.Eventually(t, "the loss is counted", func() bool { return client.Stats().Losses == 1 })
	must.Do(t, testutil.CollectAndCompare(c, strings.NewReader(`
# HELP kivaloo_client_connected 1 if there is a connection now, else 0.
# TYPE kivaloo_client_connected gauge
kivaloo_client_connected 0
`), "kivaloo_client_connected"))
}
