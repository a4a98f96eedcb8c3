// Command kivaloo-lbs keeps numbered blocks in a directory and serves them on a socket. It replaces
// the original's block store daemon, with the same options, files, answers and exit statuses.
//
//	client --socket--> eventloop --> eventloop/lbs --> disk.Local --> blks_* files
package main

import (
	"context"
	"time"

	"kivaloo/cmd/internal/daemon"
	"kivaloo/cmd/internal/debug"
	"kivaloo/disk"
	"kivaloo/eventloop"
	"kivaloo/eventloop/lbs"
	"kivaloo/tree"
)

const usage = "-s <socket> -d <dir> -b <block size> [-n <readers>] [-l <read delay in ns>]\n" +
	"[-p <pidfile>] [-L] [-1] [--foreground]\n" + debug.Usage

// options are the options of the command line.
type options struct {
	dir       string
	blockSize int
	readers   int
	delay     int // nanoseconds
	noSync    bool
	once      bool // end after the first connection
	debug     *debug.Options
}

func main() {
	o := options{readers: disk.DefaultReaders}
	p := daemon.New("kivaloo-lbs", usage)
	p.Text(&o.dir, "d")
	p.Number(&o.blockSize, "b", disk.MinBlockSize, disk.MaxBlockSize)
	p.Require("d", "b")
	p.Number(&o.readers, "n", 1, disk.MaxReaders)
	p.Number(&o.delay, "l", 0, int(disk.MaxReadDelay))
	p.Switch(&o.noSync, "L")
	p.Switch(&o.once, "1")
	o.debug = debug.Flags(p, "kivaloo-lbs")
	p.Main(func() (daemon.Serve, error) { return start(p, o) })
}

// start binds the socket and opens the store, in the original's order. So the socket's file exists,
// and remains, even if the store is unusable.
func start(p *daemon.Program, o options) (daemon.Serve, error) {
	dbg, err := debug.Start(*o.debug)
	if err != nil {
		return nil, err
	}
	ln, err := p.Listen()
	if err != nil {
		return nil, err
	}
	ofTree := false
	store, err := disk.Open(o.dir, disk.Options{
		// The blocks need not be those of a tree. So if the size is not recognised, the user's
		// choice is accepted.
		Recognise: func(dir disk.Dir) (_ int, err error) {
			ofTree, err = tree.CheckBlockSize(dir, o.blockSize)
			return o.blockSize, err
		},
		Readers:   o.readers,
		ReadDelay: time.Duration(o.delay),
		NoSync:    o.noSync,
		Log:       p.Log,
		OnSync:    dbg.OnSync(),
		Doubtful: func(block uint64, found disk.Found) (disk.Verdict, error) {
			if !ofTree {
				return disk.Verdict{Stretch: found.File}, nil
			}
			return tree.Doubtful(block, found)
		},
	})
	if err != nil {
		return nil, err
	}
	loop, err := eventloop.New(p.Log)
	if err != nil {
		return nil, err
	}
	dbg.Measure(loop, nil)
	return func(ctx context.Context) error {
		defer dbg.Close()
		return serve(ctx, o, ln, store, loop, dbg)
	}, nil
}

// serve serves one connection at a time, until ctx is done, the store fails, or the first
// connection has ended with -1.
func serve(ctx context.Context, o options, ln *eventloop.Listener, store disk.Store, loop *eventloop.Loop, dbg *debug.Server) error {
	var failure error // written by the loop, which runs below
	lo := lbs.Options{
		Readers: o.readers,
		Fatal: func(err error) {
			failure = err
			loop.Stop(0)
		},
	}
	if o.once {
		lo.Closed = func() { loop.Stop(0) }
	}
	if dbg != nil {
		lo.Counts = lbs.NewCounts()
	}
	server := lbs.NewServer(loop, store, lo)
	gate := eventloop.NewGate(1)
	loop.Serve(ln, eventloop.ServeOptions{Gate: gate, MaxRecord: lbs.MaxRecord, Judge: server.Judge, New: server.Handle})
	dbg.Ready(debug.Serving{Gate: gate, Counts: lo.Counts})
	defer context.AfterFunc(ctx, func() {
		dbg.Stopping()
		server.Stop()
	})()
	if err := loop.Run(); err != nil {
		return err
	}
	if failure != nil {
		return failure
	}
	return store.Close()
}
