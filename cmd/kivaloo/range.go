package main

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"kivaloo"
	"kivaloo/cmd/internal/number"
)

// rangeOptions are the flags of range.
type rangeOptions struct {
	clientOptions
	limit    uint64 // 0: none
	keysOnly bool
	json     bool
}

func newRangeCommand() *cobra.Command {
	var o rangeOptions
	cmd := &cobra.Command{
		Use:   "range [START [END]]",
		Short: "Print the pairs of a range of keys, in order",
		Long: `Print the pairs whose keys are at least START and less than END, in ascending
order of the keys as byte strings. Without END, or if it is empty, up to the last
key; without START from the first.

A line holds the key, a tab, and the value. Control characters, bytes that are not
UTF-8, and backslashes are written as \t, \n, \r, \\ and \xNN, so that a line is
always one pair and a terminal comes to no harm. With --hex both are in hex. With
--json a line is an object

  {"key":"...","value":"..."}

in which a key or a value that is not UTF-8, or with --hex each, goes by the name
"key_hex" or "value_hex" and is in hex.`,
		Example: `  kivaloo range                      everything
  kivaloo range user/ user0          keys that begin with "user/" ('0' comes after '/')
  kivaloo range --limit 10 m         the first ten keys from "m" on
  kivaloo range --keys-only | wc -l  how many there are`,
		Args: arguments(0, "START", "END"),
		RunE: func(cmd *cobra.Command, args []string) error { return runRange(cmd, &o, args) },
	}
	o.connectionFlags(cmd)
	o.codingFlags(cmd)
	number.Uint64(cmd.Flags(), &o.limit, "limit", "n", 0, math.MaxUint64, "print at most this many pairs (0: all)")
	cmd.Flags().BoolVarP(&o.keysOnly, "keys-only", "k", false, "print no values")
	cmd.Flags().BoolVarP(&o.json, "json", "j", false, "print JSON objects, one a line")
	return cmd
}

func runRange(cmd *cobra.Command, o *rangeOptions, args []string) error {
	var bounds [2][]byte
	for n, arg := range args {
		var err error
		if bounds[n], err = o.decode([]string{"START", "END"}[n], arg); err != nil {
			return err
		}
	}
	return o.with(cmd, func(ctx context.Context, c *kivaloo.Client) error {
		w := bufio.NewWriterSize(cmd.OutOrStdout(), outputBufferBytes)
		err := o.print(ctx, c, bounds[0], bounds[1], w)
		if flushed := w.Flush(); err == nil {
			err = flushed
		}
		return err
	})
}

// print writes the pairs from start to end to w.
func (o *rangeOptions) print(ctx context.Context, c *kivaloo.Client, start, end []byte, w io.Writer) error {
	var line []byte
	objects := json.NewEncoder(w)
	objects.SetEscapeHTML(false)
	n := uint64(0)
	for p, err := range c.Range(ctx, start, end) {
		switch {
		case err != nil:
		case o.json:
			err = objects.Encode(o.object(p))
		default:
			line = o.appendLine(line[:0], p)
			_, err = w.Write(line)
		}
		if err != nil {
			return err
		}
		if n++; n == o.limit {
			break
		}
	}
	return nil
}

// appendLine appends the line of text for p.
func (o *rangeOptions) appendLine(dst []byte, p kivaloo.Pair) []byte {
	appendOne := appendText
	if o.hex {
		appendOne = hex.AppendEncode
	}
	dst = appendOne(dst, p.Key)
	if !o.keysOnly {
		dst = append(dst, '\t')
		dst = appendOne(dst, p.Value)
	}
	return append(dst, '\n')
}

// appendText appends b as a line may hold it.
func appendText(dst, b []byte) []byte {
	for len(b) > 0 {
		r, size := utf8.DecodeRune(b)
		switch {
		case r == '\\':
			dst = append(dst, `\\`...)
		case r == '\t':
			dst = append(dst, `\t`...)
		case r == '\n':
			dst = append(dst, `\n`...)
		case r == '\r':
			dst = append(dst, `\r`...)
		case r == utf8.RuneError && size == 1, unicode.IsControl(r):
			for _, c := range b[:size] {
				dst = fmt.Appendf(dst, `\x%02x`, c)
			}
		default:
			dst = append(dst, b[:size]...)
		}
		b = b[size:]
	}
	return dst
}

// jsonPair is a pair as an object. Of each two fields one is there.
type jsonPair struct {
	Key      *string `json:"key,omitempty"`
	KeyHex   *string `json:"key_hex,omitempty"`
	Value    *string `json:"value,omitempty"`
	ValueHex *string `json:"value_hex,omitempty"`
}

// object returns p as what --json prints.
func (o *rangeOptions) object(p kivaloo.Pair) (j jsonPair) {
	j.Key, j.KeyHex = o.jsonField(p.Key)
	if !o.keysOnly {
		j.Value, j.ValueHex = o.jsonField(p.Value)
	}
	return j
}

// jsonField returns b as a string if it is one, else in hex.
func (o *rangeOptions) jsonField(b []byte) (text, inHex *string) {
	if o.hex || !utf8.Valid(b) {
		s := hex.EncodeToString(b)
		return nil, &s
	}
	s := string(b)
	return &s, nil
}
