// Command kivaloo-kvlds-dump writes all pairs of a store to standard output, or to a tree of
// directories. It takes the place of the original's program of that name: the same options,
// forms and exit statuses; only that an empty key or value does not stop it. What
// `kivaloo dump` writes is the same stream.
//
//	server --socket--> kivaloo.Client --> dumpstream.Dump --> stdout, or --fs directory
//
// Both changes made meanwhile and a failure in the middle can be seen in the output: check the
// exit status, because a stream that is cut off between two pairs looks whole.
package main

import (
	"context"
	"fmt"
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
	fs     bool   // write a tree, not a stream
	dir    string // with fs: where
}

func main() {
	var o options
	p := daemon.NewTool("kivaloo-kvlds-dump", usage)
	p.Text(&o.target, "t")
	p.Require("t")
	p.Long("fs", false, func(dir string) error { o.fs, o.dir = true, dir; return nil })
	p.Text(new(string), "v") // its argument means nothing
	p.Work(func() error {
		start := time.Now()
		done, err := o.dump(context.Background())
		if err == nil && p.Given("v") {
			p.Log.Info("dumped " + done.In(time.Since(start)))
		}
		return err
	})
}

// dump connects before it touches the directory, as the original does.
func (o *options) dump(ctx context.Context) (dumpstream.Count, error) {
	c, err := kivaloo.Dial(ctx, o.target)
	if err != nil {
		return dumpstream.Count{}, err
	}
	defer c.Close()
	var to dumpstream.Sink = dumpstream.NewWriter(os.Stdout)
	if o.fs {
		tree, err := dumpstream.NewTreeWriter(o.dir)
		if err != nil {
			return dumpstream.Count{}, err
		}
		defer tree.Close()
		to = tree
	}
	done, err := dumpstream.Dump(ctx, c, to, nil)
	if err != nil {
		return done, fmt.Errorf("the dump is incomplete, after %d pairs: %w", done.Pairs, err)
	}
	return done, nil
}
