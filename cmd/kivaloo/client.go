package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"kivaloo"
	"kivaloo/cmd/internal/outcheck"
	"kivaloo/wire"
)

// Where the server is looked for.
const (
	defaultAddr  = "./kivaloo-data/kivaloo.sock"
	addrVariable = "KIVALOO_ADDR"
)

// clientOptions are the flags of all commands that talk to a server.
type clientOptions struct {
	addr string
	hex  bool // keys and values are in hex; only with codingFlags
}

// connectionFlags adds the flags that say where the server is.
func (o *clientOptions) connectionFlags(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&o.addr, "addr", "a", "", "`ADDRESS` of the server: the directory of its store, /path, ./path,\nhost:port or [ip]:port (default $"+addrVariable+", else "+defaultAddr+")")
}

// codingFlags adds the flags that say how keys and values are written.
func (o *clientOptions) codingFlags(cmd *cobra.Command) {
	cmd.Flags().BoolVarP(&o.hex, "hex", "x", false, "keys and values are in hex, in arguments, input and output")
}

// with connects to the server and runs f on the connection.
func (o *clientOptions) with(cmd *cobra.Command, f func(ctx context.Context, c *kivaloo.Client) error) error {
	addr := o.addr
	if addr == "" {
		addr = os.Getenv(addrVariable)
	}
	if addr == "" {
		addr = defaultAddr
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), connectTimeout)
	defer cancel()
	c, err := kivaloo.Dial(ctx, addr)
	if err != nil {
		return explainDial(addr, err)
	}
	defer c.Close()
	return f(cmd.Context(), c)
}

// explainDial says in one line why there is no connection and what to do.
func explainDial(addr string, err error) error {
	var op *kivaloo.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	where, dial := addr, (*wire.DialError)(nil)
	if errors.As(err, &dial) {
		where, err = dial.Addr.String(), dial.Err // which names the socket, if addr is a directory
	}
	var errno syscall.Errno
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("no answer from %s within %v: the server is busy with another client (kivaloo-kvlds serves one at a time unless started with -n) "+
			"or stopped, or it is not a kivaloo server", where, connectTimeout)
	case errors.Is(err, kivaloo.ErrNotKivaloo):
		return fmt.Errorf("%s: %w; give the right address with --addr or %s", where, err, addrVariable)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("cannot connect to %s: permission denied; run this as the user that the server runs as", where)
	case dial != nil && errors.As(err, &errno):
		return fmt.Errorf("cannot connect to %s: %w: is `kivaloo serve` running? (--addr or %s names another server)", where, errno, addrVariable)
	}
	return fmt.Errorf("cannot connect to %s: %w", where, err)
}

// decode reads an argument called name.
func (o *clientOptions) decode(name, arg string) ([]byte, error) {
	if !o.hex {
		return []byte(arg), nil
	}
	b, err := hex.DecodeString(arg)
	if err != nil {
		return nil, fmt.Errorf("%s %q is not in hex: %w", name, arg, err)
	}
	return b, nil
}

// decodeValue reads an argument called name that holds a value, or is "-" for a
// value on standard input.
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

// encode writes a key or a value for output.
func (o *clientOptions) encode(b []byte) []byte {
	if !o.hex {
		return b
	}
	return hex.AppendEncode(nil, b)
}

// openInput opens the file called name, or standard input if that is "-", which the error called
// terminal refuses if it is one. The function that it returns closes what was opened.
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
		return nil, nil, usageError(cmd, errors.New(terminal))
	}
	return in, func() error { return nil }, nil
}

// isTerminal reports whether v is a file that is a terminal, or writes to one.
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
