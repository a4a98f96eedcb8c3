// Command kivaloo-kvlds-dump writes all pairs of a store to standard output, or to a tree of
// directories. It replaces the original's program of that name, with the same options, formats and
// exit statuses. One difference is that an empty key or value does not stop it. `kivaloo dump`
// writes the same stream.
//
//	server --socket--> kivaloo.Client --> dumpstream.Dump --> stdout, or --fs directory
//
// The output may have changes made meanwhile, and ends early after a failure. So check the exit
// status: a stream cut off between two pairs looks complete.
package main

import (
	"context"
	"fmt"
	"os"

	"kivaloo"
	"kivaloo/cmd/internal/dumpstream"
	"kivaloo/cmd/internal/plural"
)

func main() { dumpstream.Tool("kivaloo-kvlds-dump", "dumped", dumpAll) }

func dumpAll(ctx context.Context, c *kivaloo.Client, at dumpstream.Place) (dumpstream.Count, error) {
	var to dumpstream.Sink = dumpstream.NewWriter(os.Stdout)
	if at.Tree {
		tree, err := dumpstream.NewTreeWriter(at.Dir)
		if err != nil {
			return dumpstream.Count{}, err
		}
		defer tree.Close()
		to = tree
	}
	done, err := dumpstream.Dump(ctx, c, to, nil)
	if err != nil {
		return done, fmt.Errorf("the dump is incomplete, after %s: %w", plural.Of(done.Pairs, "pair"), err)
	}
	return done, nil
}
