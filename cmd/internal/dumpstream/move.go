package dumpstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"kivaloo"
	"kivaloo/cmd/internal/plural"
)

// Sink receives the pairs of a dump, one after the other.
type Sink interface {
	// Put takes p. It must not keep p after it returns.
	Put(p kivaloo.Pair) error
	// Flush completes the dump so far. Nothing is Put after it.
	Flush() error
}

// Source provides the pairs of a dump.
type Source interface {
	// Next returns a pair, valid until the next call, or io.EOF at the proper end of the dump. It
	// is not called again after an error.
	Next() (key, value []byte, err error)
	// Where names the pair of the last Next, for errors.
	Where() string
}

// Count says how much has been moved.
type Count struct {
	Pairs int64
	Bytes int64 // as a stream
}

// add counts one more pair.
func (n *Count) add(key, value []byte) {
	n.Pairs++
	n.Bytes += int64(len(key) + len(value) + 2)
}

// In formats how much was done in some time.
func (n Count) In(took time.Duration) string {
	rate := float64(n.Pairs) / max(took.Seconds(), 1e-6)
	return fmt.Sprintf("%s, %s, in %v (%.0f pairs/s)", plural.Of(n.Pairs, "pair"), plural.Of(n.Bytes, "byte"), max(took.Round(time.Millisecond), time.Millisecond), rate)
}

// Dump passes all pairs of the store to a sink. progress, unless it is nil, is called after each.
// After an error the sink has some or all of the counted pairs.
func Dump(ctx context.Context, c *kivaloo.Client, to Sink, progress func(Count)) (Count, error) {
	var done Count
	for p, err := range c.Scan(ctx, kivaloo.ScanOptions{Borrow: true}) {
		if err != nil {
			to.Flush() // the part may be useful; err is the error to report
			return done, err
		}
		if err := to.Put(p); err != nil {
			return done, err
		}
		done.add(p.Key, p.Value)
		if progress != nil {
			progress(done)
		}
	}
	return done, to.Flush()
}

// Load stores what is left in a source, with as many pairs outstanding as the connection allows.
// progress, unless it is nil, is called for each pair sent. When Load returns, none is outstanding;
// without an error all are stored.
func Load(ctx context.Context, c *kivaloo.Client, from Source, progress func(Count)) (Count, error) {
	var done Count
	p := c.Pipeline(ctx)
	for {
		key, value, err := from.Next()
		if err == io.EOF {
			break
		}
		if err == errIsBackup {
			return done, err
		}
		if err != nil {
			if failed := p.Wait(); failed != nil {
				return done, fmt.Errorf("%w; and %w", err, failed)
			}
			return done, fmt.Errorf("%w; stored before it: %s", err, plural.Of(done.Pairs, "pair"))
		}
		if err := p.Set(key, value); err != nil {
			if errors.Is(err, kivaloo.ErrTooLong) {
				err = fmt.Errorf("%s cannot be stored: %w", from.Where(), err)
			}
			p.Wait()
			return done, fmt.Errorf("%w; only pairs before %s can have been stored; loading again is safe", err, from.Where())
		}
		done.add(key, value)
		if progress != nil {
			progress(done)
		}
	}
	if err := p.Wait(); err != nil {
		return done, fmt.Errorf("%w; some pairs may not have been stored; loading again is safe", err)
	}
	return done, nil
}
