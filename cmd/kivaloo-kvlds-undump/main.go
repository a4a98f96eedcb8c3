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
	"time"

	"kivaloo"
	"kivaloo/cmd/internal/daemon"
	"kivaloo/cmd/internal/dumpstream"
)

const usage = "-t <kvlds socket> [--fs <dir>] [-v <anything>]"

// options are what the command line can set.
type options struct {
	target string
	fs     bool   // read a tree, not a stream
	dir    string // with fs: where
}

func main() {
	var o options
	p := daemon.NewTool("kivaloo-kvlds-undump", usage)
	p.Text(&o.target, "t")
	p.Require("t")
	p.Long("fs", false, func(dir string) error { o.fs, o.dir = true, dir; return nil })
	p.Text(new(string), "v") // its argument means nothing
	p.Work(func() error {
		start := time.Now()
		done, err := o.load(context.Background())
		if err == nil && p.Given("v") {
			p.Log.Info("loaded " + done.In(time.Since(start)))
		}
		return err
	})
}

// load connects before it touches the directory, as the original does.
func (o *options) load(ctx context.Context) (dumpstream.Count, error) {
	c, err := kivaloo.Dial(ctx, o.target)
	if err != nil {
		return dumpstream.Count{}, err
	}
	defer c.Close()
	var from dumpstream.Source = dumpstream.NewReader(os.Stdin)
	if o.fs {
		tree, err := dumpstream.NewTreeReader(o.dir)
		if err != nil {
			return dumpstream.Count{}, err
		}
		defer tree.Close()
		from = tree
	}
	return dumpstream.Load(ctx, c, from, nil)
}
