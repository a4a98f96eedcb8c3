package connect

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"syscall"
	"time"

	"kivaloo"
	"kivaloo/wire"
)

// explain says in one line why there is no connection and what to do. config is the TLS
// configuration used, or nil. ctx ends when there is no time left to find out more.
func (o *Options) explain(ctx context.Context, addr string, timeout time.Duration, config *tls.Config, err error) error {
	var op *kivaloo.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	where, dial := addr, (*wire.DialError)(nil)
	if errors.As(err, &dial) {
		where, err = dial.Addr.String(), dial.Err // names the socket, if addr is a directory
	}
	var errno syscall.Errno
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("no answer from %s within %v: the server is stopped or busy with another client (kivaloo-kvlds serves one at a time unless "+
			"started with -n), or it is not a kivaloo server", where, timeout)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("cannot connect to %s: permission denied; run this as the user that the server runs as", where)
	case dial != nil && errors.As(err, &errno):
		return fmt.Errorf("cannot connect to %s: %w: is `kivaloo serve` running? (%s names another server)", where, errno, o.addressFlags())
	case config == nil && errors.Is(err, wire.ErrHungUp) && speaksTLS(ctx, addr):
		return fmt.Errorf("%s speaks TLS: connect with --tls", where)
	case config != nil && dial == nil:
		return o.explainTLS(ctx, addr, err)
	case errors.Is(err, kivaloo.ErrNotKivaloo):
		return fmt.Errorf("%s: %w; give the right address with %s", where, err, o.addressFlags())
	}
	return fmt.Errorf("cannot connect to %s: %w", where, err)
}

// explainTLS says why there is no TLS connection.
func (o *Options) explainTLS(ctx context.Context, addr string, err error) error {
	if errors.As(err, new(tls.RecordHeaderError)) || errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
		if c, plainErr := kivaloo.Dial(ctx, addr, kivaloo.DialOptions{}); plainErr == nil {
			c.Close()
			return fmt.Errorf("%s is a kivaloo server without TLS: connect without --tls", addr)
		}
		return fmt.Errorf("%s does not speak TLS: give the right address with %s", addr, o.addressFlags())
	}
	return explainCertificate(addr, err)
}

// explainCertificate says what is wrong with the certificate of either side.
func explainCertificate(addr string, err error) error {
	var (
		unknown  x509.UnknownAuthorityError
		hostname x509.HostnameError
		refused  *net.OpError
	)
	switch {
	case errors.As(err, &unknown):
		return fmt.Errorf("the certificate of %s is of an unknown authority: name the authority's file with --tls-ca", addr)
	case errors.As(err, &hostname):
		return fmt.Errorf("the certificate of %s is for another name: %w; give the right one with --tls-server-name", addr, hostname)
	case errors.As(err, &refused) && refused.Op == "remote error":
		return fmt.Errorf("%s refuses the connection: %w; if it wants a certificate, give --tls-cert and --tls-key", addr, refused.Err)
	}
	return fmt.Errorf("cannot connect to %s: %w", addr, err)
}

// speaksTLS reports whether the listener at addr speaks TLS, even if it only refuses the
// connection.
func speaksTLS(ctx context.Context, addr string) bool {
	addrs, err := wire.ResolveAddrContext(ctx, addr)
	if err != nil || addrs[0].Network == "unix" {
		return false
	}
	nc, err := wire.Dial(ctx, addrs)
	if err != nil {
		return false
	}
	defer nc.Close()
	err = tls.Client(nc, &tls.Config{InsecureSkipVerify: true}).HandshakeContext(ctx) // no secret is sent
	var refused *net.OpError
	return err == nil || errors.As(err, &refused) && refused.Op == "remote error"
}
