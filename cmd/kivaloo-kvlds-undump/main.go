// Command kivaloo-kvlds-undump stores the pairs of a dump, from standard input or from a tree
// of directories. It takes the place of the original's program of that name: the same
// options, forms and exit statuses; only that empty keys and values are stored, an empty dump is
// none the less one, and a failure before the first pair ends it too. It reads
// what `kivaloo dump` has written.
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
