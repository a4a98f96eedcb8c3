package dumpstream

import (
	"context"
	"time"

	"kivaloo"
	"kivaloo/cmd/internal/daemon"
)

// Place is where a dump is.
type Place struct {
	Tree bool   // a tree of directories, not standard input or output
	Dir  string // of the tree
}

// Tool is the main function of the original's two programs, which have the same command line. did
// is what the program says with -v that it has done. move does the work. Tool connects before it
// touches a directory, as the original does.
func Tool(name, did string, move func(context.Context, *kivaloo.Client, Place) (Count, error)) {
	var target string
	var at Place
	p := daemon.NewTool(name, "-t <kvlds socket> [--fs <dir>] [-v <anything>]")
	p.Text(&target, "t")
	p.Require("t")
	p.Long("fs", false, func(dir string) error { at = Place{true, dir}; return nil })
	p.Text(new(string), "v") // its argument is ignored
	p.Work(func() error {
		start, ctx := time.Now(), context.Background()
		c, err := kivaloo.Dial(ctx, target, kivaloo.DialOptions{})
		if err != nil {
			return err
		}
		defer c.Close()
		done, err := move(ctx, c, at)
		if err == nil && p.Given("v") {
			p.Log.Info(did + " " + done.In(time.Since(start)))
		}
		return err
	})
}
