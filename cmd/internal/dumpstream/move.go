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

// Sink takes the pairs of a dump, one after the other.
type Sink interface {
	// Put takes p, which it may use only during the call.
	Put(p kivaloo.Pair) error
	// Flush ends the dump, as far as it has come. Nothing is Put after it.
	Flush() error
}

// Source has the pairs of a dump.
type Source interface {
	// Next returns a pair, which is valid until the next call, or io.EOF where
	// the dump ends as it should. After an error it is not called again.
	Next() (key, value []byte, err error)
	// Where names the pair that Next was asked for last, for errors.
	Where() string
}

// Count is how much has been moved.
type Count struct {
	Pairs int64
	Bytes int64 // as a stream
}

// add counts one more pair.
func (n *Count) add(key, value []byte) {
	n.Pairs++
	n.Bytes += int64(len(key) + len(value) + 2)
}

// In says that this much has been done in some time.
func (n Count) In(took time.Duration) string {
	rate := float64(n.Pairs) / max(took.Seconds(), 1e-6)
	return fmt.Sprintf("%s, %s, in %v (%.0f pairs/s)", plural.Of(n.Pairs, "pair"), plural.Of(n.Bytes, "byte"), max(took.Round(time.Millisecond), time.Millisecond), rate)
}

// Dump gives all pairs of the store to a sink. progress, unless it is nil, is told after
// each. After an error the sink has the pairs that are counted, or some of them.
func Dump(ctx context.Context, c *kivaloo.Client, to Sink, progress func(Count)) (Count, error) {
	var done Count
	for p, err := range c.Scan(ctx, kivaloo.ScanOptions{Borrow: true}) {
		if err != nil {
			to.Flush() // what there is may be of use; err is what to report
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

// Load stores what is left in a source, with as many pairs outstanding as the connection
// allows. progress, unless it is nil, is told about each that is sent. When Load returns, none
// is outstanding; without an error all are stored.
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
				err = fmt.Errorf("%s, cannot be stored: %w", from.Where(), err)
			}
			p.Wait()
			return done, fmt.Errorf("%w; only pairs before %s, can have been stored; loading again is safe", err, from.Where())
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
