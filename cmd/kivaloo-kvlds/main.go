// Command kivaloo-kvlds serves pairs of keys and values on a socket, and keeps them in a block
// store behind another socket. It replaces the original's key-value daemon, with the same options,
// pages, answers and exit statuses. Its own option -n makes it serve several clients at once.
//
//	client --socket--> eventloop --> eventloop/kvlds --> tree
//	                                                      |
//	             kivaloo-lbs <--socket-- disk/remote <----+
package main

// Reading order: this file (the command line and the preparations), serve.go (the life of the
// daemon), limits.go.

import (
	"context"
	"fmt"
	"math"
	"time"

	"kivaloo/cmd/internal/daemon"
	"kivaloo/cmd/internal/debug"
	"kivaloo/disk/remote"
	"kivaloo/eventloop"
	"kivaloo/eventloop/kvlds"
	"kivaloo/tree"
	"kivaloo/wire"
)

const usage = "-s <socket> -l <lbs socket> [-C <pages> | -c <bytes>] [-k <max key>]\n" +
	"   [-v <max value>] [-S <cost ratio>] [-w <seconds>] [-g <count>]\n" +
	"   [--journal <bytes>] [-n <connections>] [-p <pidfile>] [-1] [--foreground]\n" +
	"   " + debug.Usage

// options are the options of the command line.
type options struct {
	store       string // address of the block store
	cachePages  uint64
	cacheBytes  uint64
	maxKey      uint64  // bytes
	maxValue    uint64  // bytes
	storageCost float64 // price of a GB-month, divided by that of a million I/Os
	journal     uint64  // bytes
	commitDelay float64 // seconds
	minCommit   uint64
	connections int
	once        bool // end after the first connection
	debug       *debug.Options
}

func main() {
	o := options{cacheBytes: tree.DefaultCacheBytes, journal: tree.DefaultJournalBytes, storageCost: 1, connections: 1}
	p := daemon.New("kivaloo-kvlds", usage)
	p.Text(&o.store, "l")
	p.Require("l")
	p.Size(&o.cachePages, "C", tree.MinCachePages, tree.MaxCachePages)
	p.Size(&o.cacheBytes, "c", 0, math.MaxUint64)
	p.Exclusive("C", "c")
	p.Size(&o.maxKey, "k", 0, tree.MaxStringBytes)
	p.Size(&o.maxValue, "v", 0, tree.MaxStringBytes)
	p.Real(&o.storageCost, "S", 0, math.Inf(1))
	p.LongSize(&o.journal, "journal", 0, math.MaxInt64)
	p.Real(&o.commitDelay, "w", 0, maxCommitDelaySeconds)
	p.Size(&o.minCommit, "g", 1, maxBatch)
	p.Number(&o.connections, "n", 1, maxConnections)
	p.Switch(&o.once, "1")
	o.debug = debug.Flags(p, "kivaloo-kvlds")
	p.Main(func() (daemon.Serve, error) { return start(p, o) })
}

// start opens everything in the original's order. So the socket's file exists, and remains, even if
// the block store is unusable.
func start(p *daemon.Program, o options) (daemon.Serve, error) {
	addrs, err := wire.ResolveAddr(o.store)
	if err != nil {
		return nil, err
	}
	dbg, err := debug.Start(*o.debug)
	if err != nil {
		return nil, err
	}
	ln, err := p.Listen()
	if err != nil {
		return nil, err
	}
	// Wait for a block store that is serving another client.
	store, err := remote.Dial(context.Background(), addrs, p.Log)
	if err != nil {
		return nil, err
	}
	cfg, err := o.treeConfig(p, store.Info().BlockSize)
	if err != nil {
		return nil, err
	}
	failed, fail := context.WithCancelCause(context.Background())
	cfg.OnFault = func(error) { fail(errFault) }
	t, err := tree.Open(store, cfg)
	if err != nil {
		return nil, fmt.Errorf("open the tree in the block store at %s: %w", o.store, err)
	}
	loop, err := eventloop.New(p.Log)
	if err != nil {
		return nil, err
	}
	loop.LimitMemory(kvlds.Memory(int64(cfg.CachePages) * int64(store.Info().BlockSize)))
	dbg.Measure(loop, t)
	s := &service{o: o, ln: ln, store: store, tree: t, loop: loop, debug: dbg, failed: failed}
	return s.serve, nil
}

// treeConfig returns the configuration of a tree with blocks of blockSize bytes.
func (o *options) treeConfig(p *daemon.Program, blockSize int) (tree.Config, error) {
	cfg := tree.Config{
		CachePages:   int(o.cachePages),
		MaxKey:       -1, // what the block size allows
		MaxValue:     -1,
		StorageCost:  o.storageCost,
		MaxSpread:    tree.DefaultMaxSpread,
		JournalBytes: int64(o.journal),
		CommitDelay:  time.Duration(o.commitDelay * float64(time.Second)),
		MinCommit:    int(o.minCommit),
		Log:          p.Log,
	}
	if p.Given("k") {
		cfg.MaxKey = int(o.maxKey)
	}
	if p.Given("v") {
		cfg.MaxValue = int(o.maxValue)
	}
	if !p.Given("C") {
		pages := o.cacheBytes / uint64(blockSize)
		if pages < tree.MinCachePages || pages > tree.MaxCachePages {
			return cfg, fmt.Errorf("option -c: %d bytes are %d pages of %d bytes, which is not between %d and %d pages",
				o.cacheBytes, pages, blockSize, tree.MinCachePages, tree.MaxCachePages)
		}
		cfg.CachePages = int(pages)
	}
	return cfg, nil
}
