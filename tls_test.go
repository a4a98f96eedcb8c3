package kivaloo_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"strings"
	"testing"

	"kivaloo"
	"kivaloo/eventloop/mux/certtest"
	"kivaloo/internal/must"
	"kivaloo/wire/wiretest"
)

// startTLS starts s on a TCP port with TLS and returns its address. It serves only clients with a
// certificate of authority.
func startTLS(t *testing.T, s *wiretest.Server, authority *certtest.Authority) string {
	t.Helper()
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{authority.Issue("server")},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    authority.Pool(),
	})
	must.Do(t, err)
	t.Cleanup(s.Listen(ln))
	return ln.Addr().String()
}

func TestTLS(t *testing.T) {
	authority, stranger := certtest.NewAuthority(t, "authority"), certtest.NewAuthority(t, "stranger")
	s := &wiretest.Server{}
	addr := startTLS(t, s, authority)
	ctx := within(t)
	good := &tls.Config{
		Certificates: []tls.Certificate{authority.Issue("client")},
		RootCAs:      authority.Pool(),
	}
	c, err := kivaloo.Dial(ctx, addr, kivaloo.DialOptions{Reconnect: true, TLS: good})
	must.Do(t, err)
	defer c.Close()
	must.Do(t, c.Set(ctx, []byte("k"), []byte("v")))
	if got, err := c.Get(ctx, []byte("k")); err != nil || string(got) != "v" {
		t.Errorf("got %q, %v", got, err)
	}
	if good.ServerName != "" {
		t.Error("the caller's configuration has been changed")
	}

	// The client reconnects with TLS too.
	s.HangUp()
	for {
		got, err := c.Get(ctx, []byte("k"))
		if err == nil && string(got) == "v" {
			break
		}
		if err == nil || ctx.Err() != nil {
			t.Fatalf("after the loss: got %q, %v", got, err)
		}
	}

	var unknown x509.UnknownAuthorityError
	var host x509.HostnameError
	for name, tc := range map[string]struct {
		config *tls.Config
		want   any // for errors.As, or nil
	}{
		"the system's authorities": {&tls.Config{}, &unknown},
		"another authority":        {&tls.Config{RootCAs: stranger.Pool()}, &unknown},
		"another host":             {&tls.Config{RootCAs: authority.Pool(), ServerName: "db.example.org"}, &host},
		"no certificate":           {&tls.Config{RootCAs: authority.Pool()}, nil},
		"a stranger's certificate": {&tls.Config{RootCAs: authority.Pool(), Certificates: []tls.Certificate{stranger.Issue("client")}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := kivaloo.Dial(ctx, addr, kivaloo.DialOptions{TLS: tc.config})
			if err == nil {
				c.Close()
				t.Fatal("connected")
			}
			var op *kivaloo.OpError
			if !errors.As(err, &op) || op.Addr != addr || tc.want != nil && !errors.As(err, tc.want) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestTLSMismatch checks that there is an error, not an endless wait, if only one side uses TLS.
func TestTLSMismatch(t *testing.T) {
	ctx := within(t)
	plain := &wiretest.Server{}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must.Do(t, err)
	t.Cleanup(plain.Listen(ln))
	secure := startTLS(t, &wiretest.Server{}, certtest.NewAuthority(t, "authority"))
	for name, dial := range map[string]func() (*kivaloo.Client, error){
		"to a plain server": func() (*kivaloo.Client, error) {
			return kivaloo.Dial(ctx, ln.Addr().String(), kivaloo.DialOptions{TLS: &tls.Config{}})
		},
		"from a plain client": func() (*kivaloo.Client, error) { return kivaloo.Dial(ctx, secure, kivaloo.DialOptions{}) },
	} {
		c, err := dial()
		if err == nil {
			c.Close()
		}
		if err == nil || ctx.Err() != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err = kivaloo.Dial(ctx, serverAddr, kivaloo.DialOptions{TLS: &tls.Config{}})
	if err == nil || !strings.Contains(err.Error(), "unix socket") {
		t.Errorf("to a unix socket: %v", err)
	}
}
