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
)

// startTLS starts s on a port with TLS, where only clients with a certificate of
// authority are served, and returns its address.
func (s *fakeServer) startTLS(t *testing.T, authority *certtest.Authority) string {
	t.Helper()
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{authority.Issue("server")},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    authority.Pool(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.listen(ln))
	return ln.Addr().String()
}

func TestTLS(t *testing.T) {
	authority, stranger := certtest.NewAuthority(t, "authority"), certtest.NewAuthority(t, "stranger")
	s := &fakeServer{}
	addr := s.startTLS(t, authority)
	ctx := within(t)
	good := &tls.Config{
		Certificates: []tls.Certificate{authority.Issue("client")},
		RootCAs:      authority.Pool(),
	}
	c, err := kivaloo.Dial(ctx, addr, kivaloo.WithTLS(good), kivaloo.WithReconnect())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Set(ctx, []byte("k"), []byte("v")); err != nil {
		t.Fatal(err)
	}
	if got, err := c.Get(ctx, []byte("k")); err != nil || string(got) != "v" {
		t.Errorf("got %q, %v", got, err)
	}
	if good.ServerName != "" {
		t.Error("the caller's configuration has been changed")
	}

	// It comes back by the same way.
	s.hangUp()
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
		"the system's authorities": {nil, &unknown},
		"another authority":        {&tls.Config{RootCAs: stranger.Pool()}, &unknown},
		"another host":             {&tls.Config{RootCAs: authority.Pool(), ServerName: "db.example.org"}, &host},
		"no certificate":           {&tls.Config{RootCAs: authority.Pool()}, nil},
		"a stranger's certificate": {&tls.Config{RootCAs: authority.Pool(), Certificates: []tls.Certificate{stranger.Issue("client")}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := kivaloo.Dial(ctx, addr, kivaloo.WithTLS(tc.config))
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

// Without TLS on both sides there is an error, not a wait for ever.
func TestTLSMismatch(t *testing.T) {
	ctx := within(t)
	plain := &fakeServer{}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(plain.listen(ln))
	secure := (&fakeServer{}).startTLS(t, certtest.NewAuthority(t, "authority"))
	for name, dial := range map[string]func() (*kivaloo.Client, error){
		"to a plain server":   func() (*kivaloo.Client, error) { return kivaloo.Dial(ctx, ln.Addr().String(), kivaloo.WithTLS(nil)) },
		"from a plain client": func() (*kivaloo.Client, error) { return kivaloo.Dial(ctx, secure) },
	} {
		c, err := dial()
		if err == nil {
			c.Close()
		}
		if err == nil || ctx.Err() != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err = kivaloo.Dial(ctx, serverAddr, kivaloo.WithTLS(nil))
	if err == nil || !strings.Contains(err.Error(), "unix socket") {
		t.Errorf("to a unix socket: %v", err)
	}
}
