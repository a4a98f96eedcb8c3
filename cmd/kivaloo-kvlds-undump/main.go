// Command kivaloo-kvlds-undump stores the pairs of a dump, from standard input or from a tree of
// directories. It replaces the original's program of that name, with the same options, formats and
// exit statuses. There are three differences: it stores empty keys and values, accepts an empty
// dump, and also ends after a failure before the first pair. It reads the output of `kivaloo dump`,
// too.
//
//	stdin, or --fs directory --> dumpstream.Load --> kivaloo.Client --socket--> server
//
// After an error some of the pairs are stored. Storing the same dump again is safe.
package main

import (
	"context"
	"os"

	"kivaloo"
	"kivaloo/cmd/internal/dumpstream"
)

func main() { dumpstream.Tool("kivaloo-kvlds-undump", "loaded", loadAll) }

func loadAll(ctx context.Context, c *kivaloo.Client, at dumpstream.Place) (dumpstream.Count, error) {
	var from dumpstream.Source = dumpstream.NewReader(os.Stdin)
	if at.Tree {
		tree, err := dumpstream.NewTreeReader(at.Dir)
		if err != nil {
			return dumpstream.Count{}, err
		}
		defer tree.Close()
		from = tree
	}
	return dumpstream.Load(ctx, c, from, nil)
}
