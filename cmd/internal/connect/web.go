package connect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
)

// Web is the debug address of a server. It speaks HTTP.
type Web struct {
	base   *url.URL
	client *http.Client
}

// Web returns the debug address named by arg: host:port or a URL.
func (o *Options) Web(arg string) (*Web, error) {
	config, err := o.TLS()
	if err != nil {
		return nil, err
	}
	timeout, err := o.Timeout()
	if err != nil {
		return nil, err
	}
	if !strings.Contains(arg, "://") {
		scheme := "http://"
		if config != nil {
			scheme = "https://"
		}
		arg = scheme + arg
	}
	base, err := url.Parse(strings.TrimSuffix(arg, "/"))
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		return nil, fmt.Errorf("%q is neither host:port nor a URL", arg)
	}
	return &Web{base, &http.Client{Timeout: timeout, Transport: &http.Transport{TLSClientConfig: config}}}, nil
}

// String returns the URL of the server.
func (w *Web) String() string { return w.base.String() }

// Close closes the connections.
func (w *Web) Close() { w.client.CloseIdleConnections() }

// Patient returns a client that waits for as long as a request's context allows.
func (w *Web) Patient() *http.Client { return &http.Client{Transport: w.client.Transport} }

// Get returns the page at a path, cut off after max bytes.
func (w *Web) Get(ctx context.Context, path string, max int64) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, w.String()+path, nil)
	if err != nil {
		return nil, err
	}
	answer, err := w.client.Do(request)
	if err != nil {
		return nil, w.explain(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, max))
	switch {
	case err != nil:
		return nil, w.explain(err)
	case answer.StatusCode == http.StatusBadRequest && strings.Contains(string(body), "HTTP request to an HTTPS server"):
		return nil, fmt.Errorf("%s speaks TLS: connect with --tls", w.base.Host)
	case answer.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("%s: %s", request.URL, answer.Status)
	}
	return body, nil
}

// explain says why there is no answer.
func (w *Web) explain(err error) error {
	var inURL *url.Error
	if errors.As(err, &inURL) {
		err = inURL.Err
	}
	var timeout net.Error
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		return fmt.Errorf("no answer from %s within %v: the server is stopped or cannot be reached", w.base.Host, w.client.Timeout)
	case strings.Contains(err.Error(), "HTTP response to HTTPS client"):
		return fmt.Errorf("%s does not speak TLS: connect without --tls", w.base.Host)
	case strings.Contains(err.Error(), `malformed HTTP response "\x15\x03`):
		return fmt.Errorf("%s speaks TLS: connect with --tls", w.base.Host)
	case w.base.Scheme == "https":
		return explainCertificate(w.base.Host, err)
	}
	return fmt.Errorf("cannot connect to %s: %w", w.base.Host, err)
}
