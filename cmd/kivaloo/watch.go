package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/spf13/cobra"

	"kivaloo"
	"kivaloo/cmd/internal/commandline"
	"kivaloo/cmd/internal/connect"
	"kivaloo/cmd/internal/number"
	"kivaloo/cmd/internal/pairtext"
)

// watchOptions are the flags of watch.
type watchOptions struct {
	keyRange
	from  uint64 // 0: now
	limit int    // 0: none
	json  bool
}

func newWatchCommand() *cobra.Command {
	var o watchOptions
	cmd := &cobra.Command{
		Use:        "watch [START [END]]",
		SuggestFor: []string{"follow", "monitor", "subscribe", "tail"},
		Short:      "Print changes as they are committed",
		Long: `Print the changes of a range of keys in the order of their commits, each once it is
durable: those from now on, or those after the position of an earlier watch. Several changes
of a key in one commit may appear as the last of them.

` + rangeHelp + `

A line holds "set", the key and the value, or "delete" and the key, with tabs between them.
Keys and values are printed as "kivaloo range" prints them. --json prints an object on each
line:

  {"key":"...","value":"...","position":"..."}
  {"key":"...","deleted":true,"position":"..."}

A lost connection is replaced. The command waits for a server that is restarted, however long
that takes. It never skips a change silently.

At the end, also after Ctrl-C, the command says at which position to go on with --from.
Going on there, or at the position of a change, may print the changes of one commit again.
The server keeps recent changes only. The exit status is 5 if some changes after the
position are gone: read the range again, then watch from now.`,
		Example: `  kivaloo watch                 all changes from now on
  kivaloo watch --prefix user/  those of keys that begin with "user/"
  kivaloo watch --from 1234     go on where another watch ended
  kivaloo watch --json --limit 1`,
		Args:              commandline.Arguments(0, "START", "END"),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, args []string) error { return o.run(cmd, args) },
	}
	o.addFlags(cmd)
	number.Uint64(cmd.Flags(), &o.from, "from", "f", 0, math.MaxUint64, "begin after this position (0: now)")
	number.Int(cmd.Flags(), &o.limit, "limit", "n", 0, math.MaxInt, "stop after this many changes (0: until Ctrl-C)")
	jsonFlag(cmd, &o.json)
	return cmd
}

func (o *watchOptions) run(cmd *cobra.Command, args []string) error {
	scan, err := o.scan(args)
	if err != nil {
		return err
	}
	ctx, stop := untilStopped(cmd.Context())
	defer stop()
	cmd.SetContext(ctx)
	stderr := cmd.ErrOrStderr()
	o.kind, o.Patient, o.OnEvent = connect.Repeated, true, func(e kivaloo.ConnEvent) {
		switch e.Kind {
		case kivaloo.ConnLost:
			fmt.Fprintf(stderr, "connection lost, connecting again: %s\n", commandline.ErrorText(e.Err))
		case kivaloo.ConnReconnected:
			fmt.Fprintln(stderr, "connected again")
		}
	}
	w := kivaloo.WatchOptions{Start: scan.Start, End: scan.End, Prefix: scan.Prefix, Position: o.from}
	return o.with(cmd, func(ctx context.Context, c *kivaloo.Client) error {
		position, err := o.print(ctx, c, w, cmd.OutOrStdout())
		switch {
		case errors.Is(err, kivaloo.ErrPositionGone):
			return gone(fmt.Sprintf("the changes after position %d are not kept any more: read the keys again, then watch without --from", position))
		case err != nil && !interrupted(ctx) && position != o.from:
			return fmt.Errorf("%w; go on with --from %d", err, position)
		case err != nil && !interrupted(ctx):
			return err
		}
		fmt.Fprintf(stderr, "go on with --from %d\n", position)
		return nil
	})
}

// print writes changes to out, and returns the position at which to continue.
func (o *watchOptions) print(ctx context.Context, c *kivaloo.Client, w kivaloo.WatchOptions, out io.Writer) (position uint64, err error) {
	position = w.Position
	w.Progress = func(p uint64) { position = p }
	objects, n := newObjects(out), 0
	for change, err := range c.Watch(ctx, w) {
		if err == nil && o.json {
			err = objects.Encode(o.object(change))
		} else if err == nil {
			_, err = out.Write(o.line(change))
		}
		if err != nil {
			return position, err
		}
		position = change.Position
		if n++; n == o.limit {
			break
		}
	}
	return position, nil
}

// line returns the line of text for a change.
func (o *watchOptions) line(change kivaloo.Change) []byte {
	line := []byte("set\t")
	if change.Deleted {
		line = []byte("delete\t")
	}
	return o.appendLine(line, kivaloo.Pair{Key: change.Key, Value: change.Value}, change.Deleted)
}

// object returns the JSON object for a change. Positions are strings, because many programs cannot
// parse numbers that long.
func (o *watchOptions) object(change kivaloo.Change) any {
	object := pairtext.KeyObject(change.Key, o.hex)
	if !change.Deleted {
		object = pairtext.PairObject(kivaloo.Pair{Key: change.Key, Value: change.Value}, o.hex)
	}
	return struct {
		pairtext.Object
		Deleted  bool   `json:"deleted,omitempty"`
		Position uint64 `json:"position,string"`
	}{object, change.Deleted, change.Position}
}
