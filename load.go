package kivaloo

import (
	"context"
	"iter"
)

// loadBatch is how many pairs a DB stores in one commit: enough that waiting for the disk does not
// matter.
const loadBatch = 10_000

// Load implements Store. Some thousand pairs are stored in each commit.
func (db *DB) Load(ctx context.Context, pairs iter.Seq2[Pair, error]) (n int64, err error) {
	var b Batch
	flush := func() error {
		if err := db.Apply(ctx, &b); err != nil {
			return partOf("load", n > 0, err)
		}
		n += int64(b.Len())
		b.Reset()
		return nil
	}
	for pair, err := range pairs {
		if err != nil {
			return n, err
		}
		if b.Set(pair.Key, pair.Value); b.Len() < loadBatch {
			continue
		}
		if err := flush(); err != nil {
			return n, err
		}
	}
	return n, flush()
}

// Load implements Store. The pairs go through a Pipeline. After an error, n is 0: how many were
// stored is not known.
func (c *Client) Load(ctx context.Context, pairs iter.Seq2[Pair, error]) (n int64, err error) {
	p := c.Pipeline(ctx)
	for pair, err := range pairs {
		if err != nil {
			p.Wait() // do not leave requests half done
			return 0, err
		}
		if p.Set(pair.Key, pair.Value) != nil {
			break // Wait returns the error
		}
		n++
	}
	if err := p.Wait(); err != nil {
		return 0, partOf("load", n > 0, err)
	}
	if n == 0 {
		return 0, nothing(ctx, clientSource{c, nil}, "load")
	}
	return n, nil
}
