package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"kivaloo"
	"kivaloo/cmd/internal/commandline"
	"kivaloo/cmd/internal/connect"
	"kivaloo/cmd/internal/outcheck"
)

// Where clients look for a server.
const (
	defaultAddr  = "./kivaloo-data/kivaloo.sock"
	addrVariable = "KIVALOO_ADDR"
)

// clientOptions are the flags of all commands that talk to a server.
type clientOptions struct {
	connect.Options
	addr string
	kind connect.Kind
	hex  bool // keys and values are in hex; only with codingFlags
}

// connectionFlags adds the flags for the server's address and how to reach it.
func (o *clientOptions) connectionFlags(cmd *cobra.Command) {
	commandline.Text(cmd.Flags(), &o.addr, "addr", "a", "ADDRESS", "where the server is: the directory of its store, the path of a socket, host:port\n"+
		"or [ip]:port (default $"+addrVariable+", else "+defaultAddr+")")
	o.AddFlags(cmd)
}

// codingFlags adds the flags for how keys and values are written.
func (o *clientOptions) codingFlags(cmd *cobra.Command) {
	cmd.Flags().BoolVarP(&o.hex, "hex", "x", false, "keys and values are in hex, in arguments, input and output")
}

// with connects to the server and runs f on the connection. The context of f also ends when the
// server stops answering.
func (o *clientOptions) with(cmd *cobra.Command, f func(ctx context.Context, c *kivaloo.Client) error) error {
	c, err := o.Dial(cmd.Context(), cmp.Or(o.addr, os.Getenv(addrVariable), defaultAddr), o.kind)
	if err != nil {
		return err
	}
	defer c.Close()
	return o.Run(cmd.Context(), c, func(ctx context.Context) error { return f(ctx, c) })
}

// interrupted reports whether ctx ended because the user interrupted the command.
func interrupted(ctx context.Context) bool { return errors.Is(ctx.Err(), context.Canceled) }

// decode decodes the argument called name.
func (o *clientOptions) decode(name, arg string) ([]byte, error) {
	if !o.hex {
		return []byte(arg), nil
	}
	b, err := hex.DecodeString(arg)
	if err != nil {
		return nil, fmt.Errorf("%s %q is not in hex", name, arg)
	}
	return b, nil
}

// decodeAll decodes several arguments called name.
func (o *clientOptions) decodeAll(name string, args []string) (all [][]byte, err error) {
	for _, arg := range args {
		b, err := o.decode(name, arg)
		if err != nil {
			return nil, err
		}
		all = append(all, b)
	}
	return all, nil
}

// decodeValue decodes the argument called name, a value. "-" reads the value from standard input.
func (o *clientOptions) decodeValue(cmd *cobra.Command, name, arg string) ([]byte, error) {
	if arg != "-" {
		return o.decode(name, arg)
	}
	b, err := io.ReadAll(io.LimitReader(cmd.InOrStdin(), maxStdinValueBytes+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s from standard input: %w", name, err)
	}
	if len(b) > maxStdinValueBytes {
		return nil, fmt.Errorf("%s on standard input is too long: a value has at most %d bytes", name, kivaloo.MaxLen)
	}
	if o.hex {
		return o.decode(name, string(bytes.Join(bytes.Fields(b), nil)))
	}
	return b, nil
}

// encode encodes a key or a value for output.
func (o *clientOptions) encode(b []byte) []byte {
	if !o.hex {
		return b
	}
	return hex.AppendEncode(nil, b)
}

// openInput opens the file called name, or standard input if name is "-". If that is a terminal, it
// returns an error with the text terminal. The returned function closes the file.
func openInput(cmd *cobra.Command, name, terminal string) (io.Reader, func() error, error) {
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return nil, nil, err
		}
		return file, file.Close, nil
	}
	in := cmd.InOrStdin()
	if isTerminal(in) {
		return nil, nil, commandline.Usage(cmd, errors.New(terminal))
	}
	return in, func() error { return nil }, nil
}

// isTerminal reports whether v is a terminal, or writes to one.
func isTerminal(v any) bool {
	if out, ok := v.(*outcheck.Writer); ok {
		v = out.Writer
	}
	f, ok := v.(*os.File)
	if !ok {
		return false
	}
	conn, err := f.SyscallConn()
	if err != nil {
		return false
	}
	terminal := false
	err = conn.Control(func(fd uintptr) {
		_, err := unix.IoctlGetTermios(int(fd), unix.TCGETS)
		terminal = err == nil
	})
	return err == nil && terminal
}
