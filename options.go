package kivaloo

import "crypto/tls"

// Option changes how Dial sets up a Client.
type Option func(*options)

type options struct {
	window    int         // requests that can be outstanding, 1 to MaxOutstanding
	reconnect bool        // a lost connection is replaced
	tls       *tls.Config // nil: none
}

// WithWindow sets how many requests can be outstanding before callers wait:
// 1 to MaxOutstanding, which is the default. Numbers outside are moved inside.
func WithWindow(n int) Option {
	return func(o *options) { o.window = min(max(n, 1), MaxOutstanding) }
}

// WithReconnect has the Client connect again when its connection is lost. It tries
// until Close, after pauses that grow from about 50 ms to 5 s. Without it a Client
// whose connection is lost can do nothing more.
//
// Nothing is sent twice. A request that was on the lost connection fails, with an
// *OpError whose Sent tells whether it may have had an effect: whether to repeat it is
// for the caller to say. A request that comes while there is no connection, or that
// has not been given a place in the window of the lost one, waits for the next. So a
// restart of the server costs only those requests that it interrupted. How long a
// caller waits is up to its context, and the error is then that of the context together
// with the reason why there is no connection. With a context that does not end it
// waits until there is a connection, or until Close.
//
// The first connection is not repeated: Dial returns an error if it fails.
func WithReconnect() Option {
	return func(o *options) { o.reconnect = true }
}

// WithTLS has the Client speak TLS, to an address of the form host:port or
// [ip]:port, behind which there is a kivaloo-mux with a certificate. config says whom
// to trust and, for a server that asks for one, which certificate to show; nil means
// the authorities that the system trusts, and no certificate. Unless config says
// otherwise the server's certificate must be for the host in the address. config must
// not be changed afterwards.
func WithTLS(config *tls.Config) Option {
	if config == nil {
		config = &tls.Config{}
	}
	return func(o *options) { o.tls = config }
}
