package kivaloo

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"kivaloo/wire"
)

// clientSnapshot is a Snapshot kept by a server. The server drops it a minute after its last use,
// so a goroutine uses it regularly.
type clientSnapshot struct {
	source  clientSource
	closing sync.Once
	cleanup runtime.Cleanup
}

// lease is the server's part of a snapshot.
type lease struct {
	c      *Client
	id     uint64
	closed atomic.Bool
	ended  context.Context // ends with the snapshot, or the Client
	end    context.CancelFunc
}

// Snapshot implements Store. The server keeps a number of snapshots, and ErrTooManySnapshots says
// that it can keep no more now. It loses them when it is restarted, unless nothing has changed;
// then reads fail with ErrSnapshotGone. A server of the original has none: the error is
// ErrUnsupported.
func (c *Client) Snapshot(ctx context.Context) (Snapshot, error) {
	l, err := c.lease(ctx, keepSnapshotEvery)
	if err != nil {
		return nil, err
	}
	s := &clientSnapshot{source: clientSource{c, l}}
	s.cleanup = runtime.AddCleanup(s, func(l *lease) { c.start(l.release) }, l)
	return s, nil
}

// lease takes a snapshot, and keeps it alive until release is called.
func (c *Client) lease(ctx context.Context, every time.Duration) (*lease, error) {
	cl := newCall(wire.TypeSnapshot)
	if err := c.issue(ctx, &wire.KVRequest{Type: wire.TypeSnapshot}, cl); err != nil {
		cl.recycle()
		return nil, err
	}
	select {
	case <-cl.done:
	case <-ctx.Done():
		err := cl.session.opError(cl.typ, true, ctx.Err())
		c.start(func() { c.releaseUnwanted(cl) })
		return nil, err
	}
	defer cl.recycle()
	id, err := cl.snapshot()
	if err != nil {
		return nil, err
	}
	return c.holdLease(id, every)
}

// snapshot returns the number in the answer to a SNAPSHOT.
func (cl *call) snapshot() (uint64, error) {
	if cl.err != nil {
		return 0, cl.err
	}
	id, err := wire.ParseSnapshot(cl.record)
	return id, cl.bad(err)
}

// releaseUnwanted releases the snapshot that cl, a SNAPSHOT, gets after its caller has left.
func (c *Client) releaseUnwanted(cl *call) {
	select {
	case <-cl.done:
		if id, err := cl.snapshot(); err == nil {
			c.release(id)
		}
		cl.recycle()
	case <-c.open.Done():
	}
}

// holdLease keeps an existing snapshot of the server alive.
func (c *Client) holdLease(id uint64, every time.Duration) (*lease, error) {
	l := &lease{c: c, id: id}
	l.ended, l.end = context.WithCancel(c.open)
	if !c.start(func() { l.keep(every) }) {
		return nil, clientSource{c, nil}.opError("snapshot", false, ErrClosed)
	}
	return l, nil
}

// keep uses the snapshot regularly until it is released.
func (l *lease) keep(every time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			// If this fails, so will the next read.
			_, _ = clientSource{l.c, l}.has(l.ended, nil)
		case <-l.ended.Done():
			return
		}
	}
}

func (l *lease) release() {
	l.closed.Store(true)
	l.end()
	l.c.release(l.id)
}

// release releases a snapshot of the server. It waits for the answer, because closing the Client
// before the request is sent would lose it, but not for long. The request stays in progress.
func (c *Client) release(id uint64) {
	answered := make(chan struct{})
	if !c.start(func() {
		defer close(answered)
		if cl, err := c.do(c.open, &wire.KVRequest{Type: wire.TypeRelease, Snapshot: id}); err == nil {
			cl.recycle()
		}
	}) {
		return
	}
	select {
	case <-answered:
	case <-time.After(releaseTime):
	}
}

func (s *clientSnapshot) Get(ctx context.Context, key []byte) ([]byte, error) {
	return s.AppendGet(ctx, nil, key)
}

func (s *clientSnapshot) AppendGet(ctx context.Context, dst, key []byte) ([]byte, error) {
	defer runtime.KeepAlive(s)
	return s.source.appendGet(ctx, dst, key)
}

func (s *clientSnapshot) Has(ctx context.Context, key []byte) (bool, error) {
	defer runtime.KeepAlive(s)
	return s.source.has(ctx, key)
}

func (s *clientSnapshot) GetMany(ctx context.Context, keys ...[]byte) ([][]byte, error) {
	defer runtime.KeepAlive(s)
	return s.source.getMany(ctx, keys)
}

func (s *clientSnapshot) Range(ctx context.Context, start, end []byte) iter.Seq2[Pair, error] {
	return s.Scan(ctx, ScanOptions{Start: start, End: end})
}

func (s *clientSnapshot) Scan(ctx context.Context, o ScanOptions) iter.Seq2[Pair, error] {
	return func(yield func(Pair, error) bool) {
		defer runtime.KeepAlive(s)
		scan(ctx, s.source, o)(yield)
	}
}

func (s *clientSnapshot) Count(ctx context.Context, o ScanOptions) (int64, error) {
	defer runtime.KeepAlive(s)
	return count(ctx, s.source, o)
}

func (s *clientSnapshot) Close() error {
	s.closing.Do(func() {
		s.cleanup.Stop()
		s.source.at.release()
	})
	return nil
}

// start runs f on a goroutine that Close waits for. It returns false if the Client is closed.
func (c *Client) start(f func()) bool {
	c.starting.Lock()
	defer c.starting.Unlock()
	if c.open.Err() != nil {
		return false
	}
	c.keeper.Go(f)
	return true
}

// refused converts a server's refusal of an extension request. It returns any other err unchanged.
func refused(err error) error {
	var r *wire.Refusal
	if !errors.As(err, &r) {
		return err
	}
	watching := r.Type == wire.TypeWatch
	switch {
	case r.Status == wire.StatusGone && watching:
		return ErrPositionGone
	case r.Status == wire.StatusGone:
		return ErrSnapshotGone
	case r.Status == wire.StatusTooMany && watching:
		return fmt.Errorf("%w: %s", ErrTooManyWatches, r.Reason)
	case r.Status == wire.StatusTooMany:
		return fmt.Errorf("%w: %s", ErrTooManySnapshots, r.Reason)
	case r.Status == wire.StatusRefused:
		return errors.New(r.Reason)
	}
	return errors.New("the server failed: " + r.Reason)
}
