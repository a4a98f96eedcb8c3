package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"

	"kivaloo"
	"kivaloo/actors"
	"kivaloo/cmd/internal/commandline"
	"kivaloo/cmd/internal/debug"
	"kivaloo/cmd/internal/logging"
	"kivaloo/cmd/internal/number"
	"kivaloo/cmd/internal/stopping"
	"kivaloo/cmd/internal/version"
	"kivaloo/disk"
	"kivaloo/disk/s3"
	"kivaloo/eventloop"
	"kivaloo/eventloop/kvlds"
	"kivaloo/tree"
	"kivaloo/wire"
)

const (
	defaultDir = "./kivaloo-data"

	// defaultServeCacheBytes holds two million pairs of 40+40 bytes.
	defaultServeCacheBytes = 256 << 20

	// listenBacklog is the number of clients that may wait in the kernel to be accepted.
	listenBacklog = 1024

	// stopGrace is the time that clients have to read their last answers.
	stopGrace = 5 * time.Second
)

// serveOptions are the flags of serve.
type serveOptions struct {
	dir            string
	store          string // address of a store elsewhere; "": it is in dir
	s3             s3.Service
	listen         []string
	insecure       bool
	blockSize      int
	cache          byteSize
	journal        byteSize
	maxKey         int
	maxValue       int
	storageCost    float64
	scrubRate      byteSize
	commitDelay    time.Duration
	minCommit      int
	maxConnections int
	noSync         bool
	logFormat      string
	logLevel       string
	debug          debug.Options
}

func newServeCommand() *cobra.Command {
	o := serveOptions{dir: defaultDir, logFormat: "text", logLevel: "info", cache: defaultServeCacheBytes, journal: tree.DefaultJournalBytes, maxKey: -1, maxValue: -1, storageCost: kivaloo.DefaultStorageCost, scrubRate: kivaloo.DefaultScrubRate}
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Keep a store and serve it",
		Long: `Keep a store in a directory and serve it to any number of clients. SIGTERM, SIGHUP or
Ctrl-C stops it in order; a second signal, more than 100 ms later, at once. Either way
nothing acknowledged is lost.

With --store the store is in a bucket of S3, or of a service like it, and the directory only
holds the socket. Credentials and region come from the environment, the profile or the instance,
as with other programs for AWS. Whoever starts last is the writer; the one before it stops.

It listens on the unix socket ` + wire.SocketName + ` in the directory, and at every --listen.`,
		Example: `  kivaloo serve
  kivaloo serve --dir /var/lib/kivaloo --listen [127.0.0.1]:9000 --cache 4G
  kivaloo serve --dir /run/kivaloo --store s3://bucket/prefix`,
		Args:              commandline.Arguments(0),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.store == "" && o.s3 != (s3.Service{}) {
				return errors.New("--s3-endpoint, --s3-region, --s3-path-style and --s3-plain-checksums need --store")
			}
			if o.store != "" && !cmd.Flags().Changed("commit-delay") {
				o.commitDelay = s3CommitDelay
			}
			return serve(cmd.Context(), o, logging.New(cmd.ErrOrStderr(), o.logFormat, o.logLevel))
		},
	}
	f := cmd.Flags()
	commandline.Text(f, &o.dir, "dir", "", "DIR", "directory of the store; made if it is missing")
	commandline.Complete(cmd, "dir", commandline.Directories)
	commandline.Text(f, &o.store, "store", "", "s3://BUCKET/PREFIX", "keep the store there")
	commandline.Complete(cmd, "store", cobra.NoFileCompletions)
	commandline.Text(f, &o.s3.Endpoint, "s3-endpoint", "", "URL", "with --store: of a service other than Amazon's")
	commandline.Complete(cmd, "s3-endpoint", cobra.NoFileCompletions)
	commandline.Text(f, &o.s3.Region, "s3-region", "", "REGION", "with --store: region of the bucket")
	commandline.Complete(cmd, "s3-region", cobra.NoFileCompletions)
	f.BoolVar(&o.s3.PathStyle, "s3-path-style", false, "with --store: put the bucket into the path of requests, as many services other than Amazon's need")
	f.BoolVar(&o.s3.PlainChecksums, "s3-plain-checksums", false, "with --store: leave out checksums that not every service knows")
	commandline.Texts(f, &o.listen, "listen", "ADDRESS", "listen here too: /path/of.sock, host:port or [ip]:port (may be given again)")
	f.BoolVar(&o.insecure, "insecure-listen", false, "allow --listen at addresses that other machines can reach")
	number.Int(f, &o.blockSize, "block-size", "", disk.MinBlockSize, disk.MaxBlockSize, fmt.Sprintf("bytes in a block, 512 to 131072; only for a new store (default %d)", kivaloo.DefaultBlockSize))
	f.Var(&o.cache, "cache", "memory for pages and recent changes, for example 512M or 4G")
	number.Int(f, &o.maxKey, "max-key", "", 0, kivaloo.MaxLen, "longest key to accept, in bytes (default: what the block size allows, at most 255)")
	number.Int(f, &o.maxValue, "max-value", "", 0, kivaloo.MaxLen, "longest value to accept, in bytes (default: what the block size allows, at most 255)")
	f.Var(&o.journal, "journal", "flush the journal into pages once it holds this many bytes of changes; 0: no journal, each commit writes pages")
	number.Float64(f, &o.storageCost, "storage-cost", "", 0, maxStorageCost, "price of storing 1 GB for a month, divided by the price of a million I/Os; the higher, the sooner space is reclaimed; 0: never")
	f.Var(&o.scrubRate, "scrub-rate", "compare each block with its checksum, once a day, reading at most this many bytes a second; 0: never")
	number.Duration(f, &o.commitDelay, "commit-delay", "", 0, time.Second, "how long a change may wait for others to share its commit, up to 1s (with --store: 50ms)")
	number.Int(f, &o.minCommit, "min-commit", "", 0, maxMinCommit, "commit as soon as this many changes are waiting")
	number.Int(f, &o.maxConnections, "max-connections", "", 0, maxConnections, "most connections at once; 0: as many as file descriptors allow")
	f.BoolVar(&o.noSync, "no-sync", false, "do not wait for the disk: a power cut may lose acknowledged changes")
	commandline.Choice(cmd, &o.logFormat, "log-format", "form of the log: lines of key=value, or of JSON objects", logging.Forms...)
	commandline.Choice(cmd, &o.logLevel, "log-level", "log lines from this level on", logging.Levels...)
	commandline.Text(f, &o.debug.Addr, "debug-addr", "", "HOST:PORT", "serve a live page, metrics and profiles here, over HTTP")
	commandline.Complete(cmd, "debug-addr", cobra.NoFileCompletions)
	f.BoolVar(&o.debug.Insecure, "insecure-debug", false, "allow --debug-addr at an address that other machines can reach")
	f.BoolVar(&o.debug.Record, "flight-recorder", false, "record execution from the start, for --debug-addr; it costs some processor time")
	return cmd
}

// check refuses invalid options before anything is touched. It returns the addresses to listen on:
// the socket in the directory, and those of --listen.
func (o *serveOptions) check() ([]wire.Addr, error) {
	if n := len(socketIn(o.dir).Address); n > wire.MaxUnixPathLen {
		return nil, fmt.Errorf("--dir %s is too long: the path of the socket in it would have %d bytes, and at most %d are possible; "+
			"change to the directory above it and give a relative path", o.dir, n, wire.MaxUnixPathLen)
	}
	addrs := []wire.Addr{socketIn(o.dir)}
	for _, s := range o.listen {
		resolved, err := wire.ResolveAddr(s)
		if err != nil {
			return nil, fmt.Errorf("--listen %s: %w", s, err)
		}
		for _, a := range resolved {
			if !a.Loopback() && !o.insecure {
				return nil, fmt.Errorf("--listen %s can be reached from other machines, and the protocol has no authentication: "+
					"listen on a unix socket or a loopback address and put kivaloo-mux in front, or say --insecure-listen", s)
			}
		}
		addrs = append(addrs, resolved...)
	}
	if err := wire.CheckDistinct(addrs); err != nil {
		return nil, fmt.Errorf("--listen: %w", err)
	}
	for _, a := range addrs[1:] {
		if err := checkNoStoreAt(a); err != nil {
			return nil, err
		}
	}
	return addrs, nil
}

// checkNoStoreAt refuses to listen at the default socket of another store.
func checkNoStoreAt(a wire.Addr) error {
	dir, name := filepath.Split(a.Address)
	if a.Network != "unix" || name != wire.SocketName {
		return nil
	}
	root, err := os.OpenRoot(filepath.Clean(dir))
	if err != nil {
		return nil // creating the socket will report the error
	}
	defer root.Close()
	held, err := disk.HoldsStore(root)
	if held {
		return fmt.Errorf("--listen %s: that directory holds another store; listen somewhere else", a)
	}
	return err
}

// serve runs a store until it is told to stop.
func serve(ctx context.Context, o serveOptions, log *slog.Logger) error {
	addrs, err := o.check()
	if err != nil {
		return err
	}
	// A closed log is no reason to stop serving.
	signal.Ignore(syscall.SIGPIPE)
	o.debug.Program, o.debug.Version, o.debug.Log = "kivaloo serve", version.Of().String(), log
	dbg, err := debug.Start(o.debug)
	if err != nil {
		return err
	}
	defer dbg.Close()
	store, t, err := o.open(ctx, addrs, dbg, log)
	if err != nil {
		return err
	}
	defer store.Close()
	defer t.Close()

	listeners, err := listenAll(addrs)
	if err != nil {
		return err
	}
	loop, err := eventloop.New(log)
	if err != nil {
		closeAll(listeners)
		return err
	}
	memory := kvlds.Memory(int64(o.cache))
	loop.LimitMemory(memory)
	dbg.Measure(loop, t)
	actor := tree.NewActor(t, store)
	readers := t.Readers()
	defer readers.Close() // before the tree
	server := &kvlds.Server{Requests: actor.Requests(), Readers: readers, MaxKey: t.MaxKey(), MaxValue: t.MaxValue(), Now: dbg.Clock(actor.Now)}
	server.LimitMemory(memory)
	gate := eventloop.NewGate(o.connections(log))
	for _, ln := range listeners {
		loop.Serve(ln, server.Options(gate))
	}
	first, second, giveBack := stopping.Requests(stopSignals()...) // a signal may come as soon as the program says that it is ready
	defer giveBack()
	go leaveAtOnce(second, log) // whatever the stop is waiting for
	o.announce(store, listeners, log)
	dbg.Ready(debug.Serving{Requests: actor.Requests(), Gate: gate, Scrubbed: store.scrubbed, Bucket: store.counts})
	err = runUntilStopped(ctx, first, loop, actor, store, dbg, log)
	for _, ln := range listeners {
		if rmErr := ln.Remove(); err == nil {
			err = rmErr
		}
	}
	if closeErr := store.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		log.Info("stopped")
	}
	return err
}

// open opens or creates the store, to be served at addrs, and its tree. It makes all checks that
// are possible in advance before it touches anything.
func (o *serveOptions) open(ctx context.Context, addrs []wire.Addr, dbg *debug.Server, log *slog.Logger) (*served, *tree.Tree, error) {
	canListen := func(disk.Store) error {
		for _, a := range addrs {
			if err := eventloop.CheckListen(a); err != nil {
				return err
			}
		}
		return nil
	}
	configure := func(blockSize int) (tree.Config, error) {
		return tree.Config{
			CachePages:   o.cachePages(blockSize),
			MaxKey:       o.maxKey,
			MaxValue:     o.maxValue,
			StorageCost:  o.storageCost,
			MaxSpread:    tree.DefaultMaxSpread,
			AdoptBlank:   true,
			JournalBytes: int64(o.journal),
			CommitDelay:  o.commitDelay,
			MinCommit:    o.minCommit,
			Log:          log,
		}, o.checkFor(blockSize)
	}
	var store *served
	var t *tree.Tree
	var err error
	if o.store != "" {
		store, t, err = o.openS3(ctx, canListen, configure, log)
	} else {
		store, t, err = o.openDir(disk.Options{BlockSize: o.blockSize, NoSync: o.noSync, ScrubRate: int64(o.scrubRate), Accept: canListen, Log: log, OnSync: dbg.OnSync()}, configure)
	}
	if err != nil {
		return nil, nil, explainBlockSize(err)
	}
	if journal := t.Stats().Journal; journal > 0 {
		log.Info("unclean shutdown detected; journal replayed", "bytes", journal)
	}
	return store, t, nil
}

// checkFor refuses options that do not fit the block size.
func (o *serveOptions) checkFor(blockSize int) error {
	key, value := tree.DefaultMaxLengths(blockSize)
	if o.maxKey >= 0 {
		key = o.maxKey
	}
	if o.maxValue >= 0 {
		value = o.maxValue
	}
	if err := tree.CheckMaxLengths(blockSize, key, value); err != nil {
		return fmt.Errorf("--max-key, --max-value: %w", err)
	}
	if pages := o.cachePages(blockSize); pages < tree.MinCachePages || pages > tree.MaxCachePages {
		return fmt.Errorf("--cache %v is %d pages of %d bytes: want %d to %d pages",
			&o.cache, pages, blockSize, tree.MinCachePages, tree.MaxCachePages)
	}
	return nil
}

func (o *serveOptions) cachePages(blockSize int) int { return int(uint64(o.cache) / uint64(blockSize)) }

// connections returns the most connections that may be open at once. It is --max-connections, or
// less if too few file descriptors would be left for the block files.
func (o *serveOptions) connections(log *slog.Logger) int {
	most := max(1, eventloop.Descriptors()-disk.MaxOpenFiles())
	if o.maxConnections == 0 {
		return most
	}
	if o.maxConnections > most {
		log.Warn("--max-connections is more than file descriptors allow", "asked for", o.maxConnections, "possible", most)
	}
	return min(o.maxConnections, most)
}

// socketIn returns the address of the socket in a store's directory.
func socketIn(dir string) wire.Addr {
	path := filepath.Join(dir, wire.SocketName)
	return wire.Addr{Name: path, Network: "unix", Address: path}
}

func listenAll(addrs []wire.Addr) ([]*eventloop.Listener, error) {
	var listeners []*eventloop.Listener
	for _, a := range addrs {
		ln, err := eventloop.ListenTakingOver(a, listenBacklog)
		if err != nil {
			closeAll(listeners)
			return nil, err
		}
		listeners = append(listeners, ln)
	}
	return listeners, nil
}

func closeAll(listeners []*eventloop.Listener) {
	for _, ln := range listeners {
		ln.Close()
		_ = ln.Remove()
	}
}

// announce logs that the store is ready, and what to do with it.
func (o *serveOptions) announce(store *served, listeners []*eventloop.Listener, log *slog.Logger) {
	where := make([]string, len(listeners))
	for i, ln := range listeners {
		where[i] = ln.Addr().Name
	}
	if o.noSync {
		log.Warn("--no-sync: a power cut may lose acknowledged changes")
	}
	log.Info("ready", "listening", where, store.kind, store.where, "block size", store.Info().BlockSize,
		"cache", o.cache.String(), "storage cost", o.storageCost, "try", o.tryCommand(where[0]))
	_, _ = sd.SdNotify(false, sd.SdNotifyReady)
}

// tryCommand returns a command to try next, in the directory that serve was started in.
func (o *serveOptions) tryCommand(socket string) string {
	program := shellWord(ownName())
	if o.dir == defaultDir && os.Getenv(addrVariable) == "" {
		return program + " set greeting hello"
	}
	return fmt.Sprintf("%s set --addr %s greeting hello", program, shellWord(socket))
}

// ownName returns how a shell can call this program: by its name if it is in the PATH, or else by
// the path it was started with. With "go run" that path exists while the program runs.
func ownName() string {
	found, err := exec.LookPath("kivaloo")
	if err != nil {
		return os.Args[0]
	}
	there, err := os.Stat(found)
	if err != nil {
		return os.Args[0]
	}
	if this, err := os.Stat("/proc/self/exe"); err != nil || !os.SameFile(this, there) {
		return os.Args[0]
	}
	return "kivaloo"
}

// shellWord quotes s as one word for a shell.
func shellWord(s string) string {
	if strings.Trim(s, shellSafe) == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// shellSafe are characters without a special meaning in any shell.
const shellSafe = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+,:@%"

// leaveAtOnce ends the process when a second signal comes.
func leaveAtOnce(second <-chan os.Signal, log *slog.Logger) {
	s := <-second
	log.Warn("leaving at once", "signal", s.String())
	os.Exit(exitError)
}

// runUntilStopped runs the loop and the tree until a signal comes, ctx is done or one of them
// fails. Then the loop sends all pending answers, and the tree finishes.
func runUntilStopped(ctx context.Context, first <-chan os.Signal, loop *eventloop.Loop, actor *tree.Actor, store *served, dbg *debug.Server, log *slog.Logger) error {
	front, back := actors.NewGroup(), actors.NewGroup()
	front.Go("loop", func(context.Context) error {
		defer front.Stop()
		return loop.Run()
	})
	front.Go("store", store.failure)
	back.Go("tree", actor.Run)
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case s := <-first:
			log.Info("stopping", "signal", s.String())
		case <-ctx.Done():
		case <-front.Context().Done():
		case <-back.Context().Done():
		}
		_, _ = sd.SdNotify(false, sd.SdNotifyStopping)
		dbg.Stopping()
		store.stopping()
		loop.Stop(stopGrace)
	}()
	err := front.Wait()
	<-done
	back.Stop()
	if treeErr := back.Wait(); err == nil {
		err = treeErr
	}
	return err
}
