package debug

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"kivaloo/actors"
	"kivaloo/cmd/internal/version"
	"kivaloo/disk"
	"kivaloo/eventloop/kvlds"
	"kivaloo/tree"
)

// Units of durations, per second.
const (
	microseconds = 1e6
	nanoseconds  = 1e9
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("kivaloo_"+name, help, labels, nil)
}

// The metrics. Units are base units, and labels have few values.
var (
	descRequests    = desc("requests_total", "Requests that have ended, by operation and how.", "op", "status")
	descRequest     = desc("request_duration_seconds", "From the read of a request off its socket until its answer was written to it, by operation. A watch that waits counts from the moment its answer is ready.", "op")
	descBuild       = desc("build_info", "The version of this program, as labels; always 1.", "version", "revision", "goversion")
	descCommitSize  = desc("commit_changes", "Keys that a commit changed.")
	descCommit      = desc("commit_duration_seconds", "From the start of an append with a commit until it was durable.")
	descFlush       = desc("flush_duration_seconds", "From the start of a memtable's flush until all of it was in durable pages.")
	descSync        = desc("fsync_duration_seconds", "Syncs of a block file that an append waited for.")
	descRead        = desc("read_duration_seconds", "Stage read: one read from a socket, including splitting it into requests.")
	descQueue       = desc("queue_duration_seconds", "Stage queue: requests waiting for a step of the tree.")
	descTree        = desc("tree_duration_seconds", "Stage tree: one step of the tree.")
	descDisk        = desc("disk_duration_seconds", "Stage disk: an append, or the read of a page, as the tree sees it.")
	descWrite       = desc("write_duration_seconds", "Stage write: answers waiting for a socket to take them.")
	descHits        = desc("cache_hits_total", "Gets that found all their pages in memory.")
	descMisses      = desc("cache_misses_total", "Times that a request had to wait for a page.")
	descConnections = desc("connections", "Connections of clients that are open.")
	descBroken      = desc("connections_broken_total", "Client connections that did not end cleanly, by reason: an invalid checksum or record, or io.", "reason")
	descReady       = desc("ready", "1 if clients get what they ask for, as /readyz says, else 0.")

	descHeight       = desc("tree_height", "Levels of the tree above its leaves.")
	descPages        = desc("tree_pages", "Pages of the tree.")
	descBlocks       = desc("store_blocks", "Blocks from the oldest that is needed to the end of the store.")
	descBlockSize    = desc("store_block_bytes", "Size of a block, and so of a page.")
	descGarbage      = desc("garbage_ratio", "Blocks kept over pages of the tree: 1 is no garbage.")
	descStuck        = desc("stuck_blocks", "Blocks that cannot be reclaimed, because an old page before them cannot be read.")
	descCached       = desc("cache_pages", "Pages in memory.")
	descCacheLimit   = desc("cache_limit_pages", "Pages that may be in memory.")
	descSnapshots    = desc("snapshots", "Snapshots that are open.")
	descJournal      = desc("journal_bytes", "Journal that a restart would replay now.")
	descMemtables    = desc("memtables", "Memtables that hold changes.")
	descMemtable     = desc("memtable_bytes", "Memory that memtables take.")
	descFlushes      = desc("flushes_total", "Memtables that have been flushed.")
	descReadOnly     = desc("read_only", "1 if no change can be made durable now, else 0.")
	descNoSpace      = desc("out_of_space", "1 if changes are refused because the disk is full, else 0.")
	descPutOff       = desc("flush_put_off", "1 if no memtable can be flushed now although changes are accepted, else 0.")
	descRoom         = desc("store_room_blocks", "Blocks that still fit on the disk, as of the last append. It is missing where that is not known.")
	descCommits      = desc("commits_total", "Commits that have changed something.")
	descPagesWritten = desc("pages_written_total", "Blocks appended to the store, those of the journal included.")
	descScrubPasses  = desc("scrub_passes_total", "Passes over the whole store that the scrubber has completed.")
	descScrubBytes   = desc("scrub_bytes_total", "Bytes that the scrubber has read.")
	descScrub        = desc("scrub_progress_ratio", "Part of the scrubber's pass that is done, 0 to 1; 1 between passes.")
	descDamaged      = desc("damaged_blocks", "Blocks that the scrubber has found damaged, and that have not been freed since.")
	descBucket       = desc("bucket_requests_total", "Requests to the service that keeps the store, by kind, repetitions included.", "kind")
	descBucketRetry  = desc("bucket_retries_total", "Requests to that service that repeated one which failed, by kind.", "kind")
	descBucketFailed = desc("bucket_failures_total", "Requests to that service that failed, by kind.", "kind")
	descBucketBytes  = desc("bucket_bytes_total", "Content sent to that service, or received from it, by kind of request.", "kind")
	descBucketTime   = desc("bucket_seconds_total", "Time from requests to that service until their answers, by kind.", "kind")
	descPagesRead    = desc("pages_read_total", "Pages read from the store.")
)

// collector collects a Server's metrics for Prometheus.
type collector struct{ server *Server }

// Describe sends nothing, because the metrics depend on the program.
func (collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c collector) Collect(out chan<- prometheus.Metric) {
	in := &c.server.inside
	serving := c.server.serving.Load()
	out <- histogram(descRead, in.loop.Read.Read(), microseconds, nanoseconds)
	out <- histogram(descWrite, in.loop.Write.Read(), microseconds, nanoseconds)
	out <- histogram(descSync, in.syncs.Read(), microseconds, nanoseconds)
	out <- gauge(descConnections, serving.connections())
	in.loop.Broken(func(reason string, n uint64) { out <- counter(descBroken, n, reason) })
	out <- gauge(descReady, flag(c.server.problem() == nil))
	in.requests(serving, func(op, status string, n uint64) { out <- counter(descRequests, n, op, status) })
	out <- gauge(descBuild, 1, buildLabels()...)
	if serving == nil || serving.Requests == nil {
		return
	}
	for op := range kvlds.Ops {
		if c := in.loop.Requests[op].Read(); c.Total() > 0 {
			out <- histogram(descRequest, c, microseconds, nanoseconds, kvlds.OpName(op))
		}
	}
	collectTree(out, &in.tree)
	if stats, ok := c.server.shape(serving); ok {
		collectShape(out, &stats)
	}
	if serving.Scrubbed != nil {
		collectScrub(out, serving.Scrubbed())
	}
	if serving.Bucket != nil {
		collectBucket(out, serving.Bucket())
	}
}

// collectScrub sends the scrubber's counters.
func collectScrub(out chan<- prometheus.Metric, s disk.ScrubStats) {
	out <- counter(descScrubPasses, s.Passes)
	out <- counter(descScrubBytes, s.Bytes)
	out <- gauge(descScrub, s.Progress)
	out <- gauge(descDamaged, s.Damaged)
}

// collectBucket sends what the requests to a bucket have cost.
func collectBucket(out chan<- prometheus.Metric, counts disk.RequestCounts) {
	for kind, c := range counts {
		out <- counter(descBucket, c.Requests, kind)
		out <- counter(descBucketRetry, c.Retries, kind)
		out <- counter(descBucketFailed, c.Failures, kind)
		out <- counter(descBucketBytes, c.Bytes, kind)
		out <- prometheus.MustNewConstMetric(descBucketTime, prometheus.CounterValue, c.Time.Seconds(), kind)
	}
}

// collectTree sends the tree's counters.
func collectTree(out chan<- prometheus.Metric, m *tree.Metrics) {
	out <- histogram(descCommitSize, m.CommitSize.Read(), 1, 1)
	out <- histogram(descCommit, m.Commit.Read(), microseconds, nanoseconds)
	out <- histogram(descFlush, m.Flush.Read(), microseconds, nanoseconds)
	out <- histogram(descQueue, m.Queue.Read(), microseconds, nanoseconds)
	out <- histogram(descTree, m.Step.Read(), microseconds, nanoseconds)
	out <- histogram(descDisk, m.Disk.Read(), microseconds, nanoseconds)
	out <- counter(descHits, m.CacheHits())
	out <- counter(descMisses, m.CacheMisses())
}

// collectShape sends what the tree reports about itself.
func collectShape(out chan<- prometheus.Metric, s *tree.Stats) {
	out <- gauge(descHeight, s.Height)
	out <- gauge(descPages, s.Pages)
	out <- gauge(descBlocks, s.Blocks)
	out <- gauge(descBlockSize, s.BlockSize)
	out <- gauge(descGarbage, garbageRatio(s))
	out <- gauge(descStuck, s.Stuck)
	out <- gauge(descCached, s.CachedPages)
	out <- gauge(descCacheLimit, s.CacheLimit)
	out <- gauge(descSnapshots, s.Snapshots)
	out <- gauge(descJournal, s.Journal)
	out <- gauge(descMemtables, s.Memtables)
	out <- gauge(descMemtable, s.MemtableBytes)
	out <- counter(descFlushes, s.Flushes)
	out <- gauge(descReadOnly, flag(s.Refusal != nil))
	out <- gauge(descNoSpace, flag(errors.Is(s.Refusal, disk.ErrNoSpace)))
	out <- gauge(descPutOff, flag(s.PutOff != nil))
	if s.Room > 0 {
		out <- gauge(descRoom, s.Room)
	}
	out <- counter(descCommits, s.Commits)
	out <- counter(descPagesWritten, s.Written)
	out <- counter(descPagesRead, s.Read)
}

// buildLabels returns the version, the source revision, and the version of Go.
func buildLabels() []string {
	v := version.Of()
	return []string{v.Version, v.Revision, v.Go}
}

// garbageRatio returns the number of blocks kept per page of the tree.
func garbageRatio(s *tree.Stats) float64 {
	if s.Pages == 0 {
		return 1
	}
	return float64(s.Blocks) / float64(s.Pages)
}

func flag(set bool) int {
	if set {
		return 1
	}
	return 0
}

func gauge[N int | int64 | uint64 | float64](d *prometheus.Desc, value N, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(value), labels...)
}

func counter(d *prometheus.Desc, value uint64, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(value), labels...)
}

// histogram makes a Prometheus metric of c. units and sumUnits say how many units of the bounds and
// of the sum make one base unit. Dividing gives bounds without superfluous digits of binary
// fractions.
func histogram(d *prometheus.Desc, c actors.Counts, units, sumUnits float64, labels ...string) prometheus.Metric {
	upTo := make(map[float64]uint64, actors.HistogramBuckets)
	seen := uint64(0)
	for i := range actors.HistogramBuckets {
		seen += c.Buckets[i]
		upTo[float64(actors.Bound(i))/units] = seen
	}
	return prometheus.MustNewConstHistogram(d, c.Total(), float64(c.Sum)/sumUnits, upTo, labels...)
}
