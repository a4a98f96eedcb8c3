package main

import (
	"bufio"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"math"

	"github.com/spf13/cobra"

	"kivaloo"
	"kivaloo/cmd/internal/commandline"
	"kivaloo/cmd/internal/number"
	"kivaloo/cmd/internal/pairtext"
)

// keyRange is a range of keys given by arguments and a flag.
type keyRange struct {
	clientOptions
	prefix string
}

const rangeHelp = `The range holds the keys from START on that are less than END. Keys are ordered as byte
strings. Without END, or if it is empty, the range extends to the last key; without START
it begins at the first. With --prefix it holds only keys that begin with the prefix.`

// addFlags adds the flags of a command on a range.
func (r *keyRange) addFlags(cmd *cobra.Command) {
	commandline.Text(cmd.Flags(), &r.prefix, "prefix", "p", "PREFIX", "only keys that begin with this")
	commandline.Complete(cmd, "prefix", cobra.NoFileCompletions)
	r.connectionFlags(cmd)
	r.codingFlags(cmd)
}

// scan returns the range given on the command line.
func (r *keyRange) scan(args []string) (s kivaloo.ScanOptions, err error) {
	for n, to := range []*[]byte{&s.Start, &s.End}[:len(args)] {
		if *to, err = r.decode([]string{"START", "END"}[n], args[n]); err != nil {
			return s, err
		}
	}
	s.Prefix, err = r.decode("--prefix", r.prefix)
	return s, err
}

// rangeOptions are the flags of range.
type rangeOptions struct {
	keyRange
	limit    int // 0: none
	reverse  bool
	keysOnly bool
	count    bool
	json     bool
}

func newRangeCommand() *cobra.Command {
	var o rangeOptions
	cmd := &cobra.Command{
		Use:        "range [START [END]]",
		SuggestFor: []string{"ls", "scan", "list", "keys"},
		Short:      "Print the pairs of a range of keys, in order",
		Long: `Print the pairs of a range of keys, in ascending order, or with --reverse in descending
order.

` + rangeHelp + `

A line holds the key, a tab, and the value. Control characters, those that change the
direction of text included, bytes that are not UTF-8, and backslashes are printed as \t,
\n, \r, \\ and \xNN: each pair takes exactly one line, and none can harm a terminal.
--hex prints both in hex. --json prints an object on each line:

  {"key":"...","value":"..."}

A key or value that is not UTF-8 is named "key_hex" or "value_hex" instead, and is in hex.
With --hex all are.`,
		Example: `  kivaloo range                 everything
  kivaloo range --prefix user/  keys that begin with "user/"
  kivaloo range --limit 10 m    the first ten keys from "m" on
  kivaloo range --reverse -n 1  the last key
  kivaloo range --count m n     how many keys there are from "m" to before "n"`,
		Args:              commandline.Arguments(0, "START", "END"),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, args []string) error { return o.run(cmd, args) },
	}
	o.addFlags(cmd)
	cmd.Flags().BoolVarP(&o.reverse, "reverse", "r", false, "from the last key to the first")
	number.Int(cmd.Flags(), &o.limit, "limit", "n", 0, math.MaxInt, "stop after this many pairs (0: print all)")
	cmd.Flags().BoolVarP(&o.keysOnly, "keys-only", "k", false, "print no values")
	cmd.Flags().BoolVarP(&o.count, "count", "c", false, "print only how many pairs there are")
	jsonFlag(cmd, &o.json)
	return cmd
}

func newCountCommand() *cobra.Command {
	o := rangeOptions{count: true}
	cmd := &cobra.Command{
		Use:   "count [START [END]]",
		Short: "Print how many keys a range holds",
		Long: `Print how many keys a range holds.

` + rangeHelp,
		Example: `  kivaloo count                 all keys
  kivaloo count --prefix user/  keys that begin with "user/"`,
		Args:              commandline.Arguments(0, "START", "END"),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, args []string) error { return o.run(cmd, args) },
	}
	o.addFlags(cmd)
	jsonFlag(cmd, &o.json)
	return cmd
}

func (o *rangeOptions) run(cmd *cobra.Command, args []string) error {
	scan, err := o.scan(args)
	if err != nil {
		return err
	}
	scan.Limit, scan.Reverse, scan.KeysOnly, scan.Borrow = o.limit, o.reverse, o.keysOnly, true
	return o.with(cmd, func(ctx context.Context, c *kivaloo.Client) error {
		if o.count {
			scan.Reverse = false // the count is the same
			return o.printCount(ctx, c, scan, cmd.OutOrStdout())
		}
		w := bufio.NewWriterSize(cmd.OutOrStdout(), outputBufferBytes)
		err := o.print(ctx, c, scan, w)
		if flushed := w.Flush(); err == nil {
			err = flushed
		}
		return err
	})
}

// printCount writes the number of pairs in a range to w.
func (o *rangeOptions) printCount(ctx context.Context, c *kivaloo.Client, scan kivaloo.ScanOptions, w io.Writer) error {
	n, err := c.Count(ctx, scan)
	if err != nil {
		return err
	}
	if o.json {
		return printObject(w, struct {
			Count int64 `json:"count"`
		}{n})
	}
	_, err = fmt.Fprintln(w, n)
	return err
}

// print writes the pairs of a range to w.
func (o *rangeOptions) print(ctx context.Context, c *kivaloo.Client, scan kivaloo.ScanOptions, w io.Writer) error {
	var line []byte
	objects := newObjects(w)
	for p, err := range c.Scan(ctx, scan) {
		switch {
		case err != nil:
		case o.json && o.keysOnly:
			err = objects.Encode(pairtext.KeyObject(p.Key, o.hex))
		case o.json:
			err = objects.Encode(pairtext.PairObject(p, o.hex))
		default:
			line = o.appendLine(line[:0], p, o.keysOnly)
			_, err = w.Write(line)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// appendLine appends the line of text for p.
func (o *clientOptions) appendLine(dst []byte, p kivaloo.Pair, keyOnly bool) []byte {
	dst = appendString(dst, p.Key, o.hex)
	if !keyOnly {
		dst = append(dst, '\t')
		dst = appendString(dst, p.Value, o.hex)
	}
	return append(dst, '\n')
}

// appendString appends a key or a value.
func appendString(dst, b []byte, inHex bool) []byte {
	if inHex {
		return hex.AppendEncode(dst, b)
	}
	return pairtext.AppendString(dst, b)
}
