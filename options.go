package kivaloo

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"time"

	"kivaloo/disk"
	"kivaloo/tree"
)

const (
	// DefaultBlockSize is the block size of a new store, in bytes: the smallest that has room for
	// keys and values of 255 bytes.
	DefaultBlockSize = 2048

	// DefaultStorageCost suits a local SSD.
	DefaultStorageCost = 10000

	// DefaultScrubRate is how many bytes of a store are checked in a second.
	DefaultScrubRate = 4 << 20
)

// OptionError reports a field with a value that the call does not accept. The call has done
// nothing. Every call that takes options returns it, and none adjusts a value silently.
type OptionError struct {
	Field  string // type and name, as in "Options.BlockSize"
	Reason string
}

func (e *OptionError) Error() string { return "kivaloo: " + e.Field + ": " + e.Reason }

func badOption(field, format string, args ...any) error {
	return &OptionError{Field: field, Reason: fmt.Sprintf(format, args...)}
}

// Options configure Open. The zero value is good for most programs.
type Options struct {
	// BlockSize is the length of a page in bytes, 512 to 131072. 0 means the block size of the
	// existing store, or DefaultBlockSize for a new one. Open fails if an existing store has
	// another one.
	BlockSize int
	// CacheBytes limits the memory that pages, their indexes and memtables take together. 0 means
	// 128 MiB. The minimum is 1024 pages.
	CacheBytes int
	// MaxKey and MaxValue are the longest key and value that are stored, in bytes. 0 means the
	// default for the block size, at most MaxLen.
	MaxKey, MaxValue int
	// StorageCost is the price of storing 1 GB for a month, divided by the price of a million I/Os.
	// The higher it is, the sooner space is reclaimed. 0 means DefaultStorageCost; a negative one
	// means never.
	StorageCost float64
	// CommitDelay is how long a change may wait for others to share its commit, at most 1 s.
	// MinCommit is how many waiting changes end that wait. Without them, all changes that arrive
	// during one commit go into the next.
	CommitDelay time.Duration
	MinCommit   int
	// JournalBytes is how many bytes of changes are collected in memory, and made durable by a
	// journal, before a flush writes them into pages. Opening a store that was not closed replays
	// the journal. 0 means 64 MiB. With a negative one there is no journal: each commit writes its
	// pages.
	JournalBytes int64
	// ScrubRate limits how many bytes a second are read from the disk to compare each block of the
	// store with its checksum. The first pass begins a minute after Open, the next a day after the
	// one before. Damaged blocks go to Log and into Stats. 0 means DefaultScrubRate; a negative one
	// means never.
	ScrubRate int64
	// NoSync acknowledges changes before they are on the disk: a power cut can lose some, or damage
	// the whole store. A crash of the process alone does no harm.
	NoSync bool
	// ReadOnly opens an existing store without changing it. Several processes may do so at once.
	ReadOnly bool
	// Log gets reports of everything that is wrong with the store. nil discards them.
	Log *slog.Logger
}

// check returns an *OptionError for a value that is wrong for any block size.
func (o *Options) check() error {
	switch {
	case o.BlockSize != 0 && (o.BlockSize < disk.MinBlockSize || o.BlockSize > disk.MaxBlockSize):
		return badOption("Options.BlockSize", "%d is not within %d to %d bytes", o.BlockSize, disk.MinBlockSize, disk.MaxBlockSize)
	case o.CacheBytes < 0:
		return badOption("Options.CacheBytes", "%d is negative", o.CacheBytes)
	case o.MaxKey < 0 || o.MaxKey > MaxLen:
		return badOption("Options.MaxKey", "%d is not within 0 to %d bytes", o.MaxKey, MaxLen)
	case o.MaxValue < 0 || o.MaxValue > MaxLen:
		return badOption("Options.MaxValue", "%d is not within 0 to %d bytes", o.MaxValue, MaxLen)
	case o.StorageCost != o.StorageCost:
		return badOption("Options.StorageCost", "it is not a number")
	case o.CommitDelay < 0 || o.CommitDelay > maxCommitDelay:
		return badOption("Options.CommitDelay", "%v is not within 0 to %v", o.CommitDelay, maxCommitDelay)
	case o.MinCommit < 0:
		return badOption("Options.MinCommit", "%d is negative", o.MinCommit)
	}
	return nil
}

// checkNew is check for a store that will be created.
func (o *Options) checkNew() error {
	if o.ReadOnly {
		return badOption("Options.ReadOnly", "the new store has to be written")
	}
	if err := o.check(); err != nil {
		return err
	}
	if o.BlockSize == 0 { // the block size is still unknown
		return nil
	}
	_, err := o.treeConfig(o.BlockSize)
	return err
}

// treeConfig returns the options of the tree of a store with this block size. The error is an
// *OptionError.
func (o *Options) treeConfig(blockSize int) (tree.Config, error) {
	cfg := tree.Config{
		CachePages:   o.CacheBytes / blockSize,
		MaxKey:       o.MaxKey,
		MaxValue:     o.MaxValue,
		StorageCost:  max(0, o.StorageCost),
		MaxSpread:    tree.DefaultMaxSpread,
		CommitDelay:  o.CommitDelay,
		MinCommit:    o.MinCommit,
		JournalBytes: max(0, o.JournalBytes),
		ReadOnly:     o.ReadOnly,
		AdoptBlank:   !o.ReadOnly,
		Log:          o.Log,
	}
	maxKey, maxValue := tree.DefaultMaxLengths(blockSize)
	if o.MaxKey == 0 {
		cfg.MaxKey = maxKey
	}
	if o.MaxValue == 0 {
		cfg.MaxValue = maxValue
	}
	if o.StorageCost == 0 {
		cfg.StorageCost = DefaultStorageCost
	}
	if o.JournalBytes == 0 {
		cfg.JournalBytes = tree.DefaultJournalBytes
	}
	if o.CacheBytes != 0 && (cfg.CachePages < tree.MinCachePages || cfg.CachePages > tree.MaxCachePages) {
		return cfg, badOption("Options.CacheBytes", "%d bytes are %d pages of %d bytes, which is not within %d to %d pages",
			o.CacheBytes, cfg.CachePages, blockSize, tree.MinCachePages, tree.MaxCachePages)
	}
	if err := tree.CheckMaxLengths(blockSize, cfg.MaxKey, cfg.MaxValue); err != nil {
		field := "Options.MaxKey"
		if o.MaxKey == 0 {
			field = "Options.MaxValue"
		}
		return cfg, badOption(field, "%v", err)
	}
	return cfg, cfg.Check(blockSize)
}

// DialOptions configure Dial. The zero value is a client without TLS whose lost connection is not
// replaced.
type DialOptions struct {
	// TLS has the Client speak TLS to an address of the form host:port or [ip]:port, behind which
	// there is a kivaloo-mux with a certificate. It says which authorities to trust and, for a
	// server that asks for one, which certificate to present. Unless it has a ServerName, the
	// server's certificate must be for the host in the address. It must not be changed afterwards.
	// &tls.Config{} trusts the authorities of the system and presents no certificate. nil means no
	// TLS.
	TLS *tls.Config

	// Reconnect replaces a lost connection. The Client tries until Close, with pauses that grow
	// from about 50 ms to 5 s. Without it, a Client whose connection is lost is of no more use. The
	// first connection is not tried again: Dial returns an error if it fails.
	//
	// Nothing is sent twice. A request that was on the lost connection fails with an *OpError,
	// whose Sent says whether it may have had an effect; the caller decides whether to repeat it. A
	// request that is made while there is no connection waits for the next one, and so does a
	// request that had no place in the window of the lost one. So a restart of the server costs
	// only the requests that it interrupted. The context bounds how long a caller waits; then the
	// error wraps that of the context and the reason why there is no connection.
	Reconnect bool

	// Timeout bounds each attempt to connect, the answer to its first request included. 0 means
	// that the context of Dial alone bounds the first one, and 10 s each later one.
	Timeout time.Duration

	// Log gets a line about each connection that is made or lost. nil discards them.
	Log *slog.Logger

	// OnEvent, if not nil, is called when a connection is made or lost, one call at a time. It must
	// be quick and must not use the Client.
	OnEvent func(ConnEvent)

	// Window is how many requests can be outstanding before callers wait, 1 to MaxOutstanding.
	// 0 means MaxOutstanding. Requests that end a Snapshot or a Watch are sent even if the window
	// is full.
	Window int
}

func (o *DialOptions) check() error {
	if o.Timeout < 0 {
		return badOption("DialOptions.Timeout", "%v is negative", o.Timeout)
	}
	if o.Window < 0 || o.Window > MaxOutstanding {
		return badOption("DialOptions.Window", "%d is not within 1 to %d requests", o.Window, MaxOutstanding)
	}
	return nil
}

// BackupOptions configure a backup.
type BackupOptions struct {
	// Resume has Client.Backup write what is missing from an interrupted backup. A position is good
	// for one attempt. DB.Backup does not accept it.
	Resume *BackupPosition
	// Progress, if not nil, is called now and then with how many pairs, and bytes of backup, have
	// been written. It is called on the goroutine of the caller of Backup.
	Progress func(pairs, bytes int64)

	keepEvery time.Duration // see keepSnapshotEvery; 0 means that
}

func (o *BackupOptions) progress(pairs uint64, bytes int64) { report(o.Progress, pairs, bytes) }

// RestoreOptions configure Restore.
type RestoreOptions struct {
	// Progress, if not nil, is called now and then with how many pairs, and bytes of backup, have
	// been restored. It is called on the goroutine of the caller of Restore.
	Progress func(pairs, bytes int64)
}

func (o *RestoreOptions) progress(pairs uint64, bytes int64) { report(o.Progress, pairs, bytes) }

func report(progress func(pairs, bytes int64), pairs uint64, bytes int64) {
	if progress != nil {
		progress(int64(pairs), bytes)
	}
}

// SalvageOptions configure Salvage.
type SalvageOptions struct {
	// BlockSize is the block size of the damaged store in bytes, 512 to 131072. 0 means to find it
	// out from the blocks.
	BlockSize int
	// New configures the new store. A BlockSize of 0 means that of the damaged store.
	New Options
	// Progress, if not nil, is called with how many blocks have been read, and how many there are.
	// That number can grow.
	Progress func(done, of uint64)
}

func (o *SalvageOptions) check() error {
	if o.BlockSize != 0 && (o.BlockSize < disk.MinBlockSize || o.BlockSize > disk.MaxBlockSize) {
		return badOption("SalvageOptions.BlockSize", "%d is not within %d to %d bytes", o.BlockSize, disk.MinBlockSize, disk.MaxBlockSize)
	}
	return o.New.checkNew()
}
