package collector

import (
	"github.com/prometheus/client_golang/prometheus"

	"kivaloo"
)

func desc(name, help string) *prometheus.Desc {
	return prometheus.NewDesc("kivaloo_"+name, help, nil, nil)
}

// The metrics of a DB. The server has the same names and help texts.
var (
	descHeight        = desc("tree_height", "Levels of the tree above its leaves.")
	descPages         = desc("tree_pages", "Pages of the tree.")
	descBlocks        = desc("store_blocks", "Blocks from the oldest that is needed to the end of the store.")
	descBlockSize     = desc("store_block_bytes", "Size of a block, and so of a page.")
	descGarbage       = desc("garbage_ratio", "Blocks kept over pages of the tree: 1 is no garbage.")
	descStuck         = desc("stuck_blocks", "Blocks that cannot be reclaimed, because an old page before them cannot be read.")
	descCached        = desc("cache_pages", "Pages in memory.")
	descCacheLimit    = desc("cache_limit_pages", "Pages that may be in memory.")
	descSnapshots     = desc("snapshots", "Snapshots that are open.")
	descJournal       = desc("journal_bytes", "Journal that a restart would replay now.")
	descMemtables     = desc("memtables", "Memtables that hold changes.")
	descMemtable      = desc("memtable_bytes", "Memory that memtables take.")
	descFlushes       = desc("flushes_total", "Memtables that have been flushed.")
	descReadOnly      = desc("read_only", "1 if no change can be made durable now, else 0.")
	descCommits       = desc("commits_total", "Commits that have changed something.")
	descPagesWritten  = desc("pages_written_total", "Blocks appended to the store, those of the journal included.")
	descPagesRead     = desc("pages_read_total", "Pages read from the store.")
	descScrubPasses   = desc("scrub_passes_total", "Passes over the whole store that the scrubber has completed.")
	descScrubBytes    = desc("scrub_bytes_total", "Bytes that the scrubber has read.")
	descScrubProgress = desc("scrub_progress_ratio", "Part of the scrubber's pass that is done, 0 to 1; 1 between passes.")
	descDamaged       = desc("damaged_blocks", "Blocks that the scrubber has found damaged, and that have not been freed since.")
)

// The metrics of a Client.
var (
	descRequests    = desc("client_requests_total", "Requests that were sent.")
	descAnswers     = desc("client_answers_total", "Requests that were answered.")
	descFailures    = desc("client_request_failures_total", "Requests that were sent and whose connection was lost before the answer.")
	descOutstanding = desc("client_outstanding_requests", "Requests that wait for their answer.")
	descWindow      = desc("client_window_requests", "Requests that can be outstanding before callers wait.")
	descConnects    = desc("client_connects_total", "Connections that were made.")
	descLosses      = desc("client_connection_losses_total", "Connections that were lost.")
	descConnected   = desc("client_connected", "1 if there is a connection now, else 0.")
)

// DB returns a collector of the numbers in db.Stats. It has no metrics once db is closed.
func DB(db *kivaloo.DB) prometheus.Collector { return dbCollector{db} }

type dbCollector struct{ db *kivaloo.DB }

// Describe implements prometheus.Collector.
func (c dbCollector) Describe(out chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, out) }

// Collect implements prometheus.Collector.
func (c dbCollector) Collect(out chan<- prometheus.Metric) {
	s := c.db.Stats()
	if s.BlockSize == 0 {
		return // closed
	}
	blocks := s.DiskBytes / int64(s.BlockSize)
	gauge(out, descHeight, s.Height)
	gauge(out, descPages, s.Pages)
	gauge(out, descBlocks, blocks)
	gauge(out, descBlockSize, s.BlockSize)
	gauge(out, descGarbage, garbageRatio(blocks, s.Pages))
	gauge(out, descStuck, s.StuckBytes/int64(s.BlockSize))
	gauge(out, descCached, s.CachedPages)
	gauge(out, descCacheLimit, s.CacheLimit)
	gauge(out, descSnapshots, s.Snapshots)
	gauge(out, descJournal, s.JournalBytes)
	gauge(out, descMemtables, s.Memtables)
	gauge(out, descMemtable, s.MemtableBytes)
	counter(out, descFlushes, s.Flushes)
	gauge(out, descReadOnly, flag(s.ReadOnly))
	counter(out, descCommits, s.Commits)
	counter(out, descPagesWritten, s.Written)
	counter(out, descPagesRead, s.Read)
	counter(out, descScrubPasses, s.ScrubPasses)
	counter(out, descScrubBytes, s.ScrubBytes)
	gauge(out, descScrubProgress, s.ScrubProgress)
	gauge(out, descDamaged, s.DamagedBlocks)
}

// garbageRatio returns the number of blocks kept per page of the tree.
func garbageRatio(blocks, pages int64) float64 {
	if pages == 0 {
		return 1
	}
	return float64(blocks) / float64(pages)
}

// Client returns a collector of the numbers in c.Stats.
func Client(c *kivaloo.Client) prometheus.Collector { return clientCollector{c} }

type clientCollector struct{ client *kivaloo.Client }

// Describe implements prometheus.Collector.
func (c clientCollector) Describe(out chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, out) }

// Collect implements prometheus.Collector.
func (c clientCollector) Collect(out chan<- prometheus.Metric) {
	s := c.client.Stats()
	counter(out, descRequests, s.Requests)
	counter(out, descAnswers, s.Answers)
	counter(out, descFailures, s.Failures)
	gauge(out, descOutstanding, s.Outstanding)
	gauge(out, descWindow, s.Window)
	counter(out, descConnects, s.Connects)
	counter(out, descLosses, s.Losses)
	gauge(out, descConnected, flag(s.Connected))
}

func flag(set bool) int {
	if set {
		return 1
	}
	return 0
}

func gauge[N int | int64 | float64](out chan<- prometheus.Metric, d *prometheus.Desc, value N) {
	out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(value))
}

func counter(out chan<- prometheus.Metric, d *prometheus.Desc, value int64) {
	out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(value))
}
