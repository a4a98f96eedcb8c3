package mux_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"kivaloo/eventloop"
	"kivaloo/eventloop/mux"
	"kivaloo/eventloop/mux/certtest"
	"kivaloo/internal/must"
	"kivaloo/wire"
)

// door is a source with TLS that requires certificates.
type door struct {
	*rig
	addr     wire.Addr
	ca       *certtest.Authority // of the server and its clients
	files    *certtest.Files
	certs    *mux.Certificates
	identity tls.Certificate // of a client
}

// newDoor creates a door to a target with these rules. The test sets other fields of s first.
func newDoor(t *testing.T, rules *mux.Rules, s mux.Source) *door {
	t.Helper()
	d := &door{rig: newRig(t, rules), ca: certtest.NewAuthority(t, "ours"), files: certtest.NewFiles(t)}
	d.files.Write(d.ca.Issue("server"), d.ca)
	var err error
	d.certs, err = mux.LoadCertificates(d.files.Cert, d.files.Key, d.files.ClientCA)
	must.Do(t, err)
	s.TLS = d.certs
	d.addr = d.source(s)
	d.identity = d.ca.Issue("client")
	return d
}

// config returns what a client needs to use the door.
func (d *door) config() *tls.Config {
	return &tls.Config{RootCAs: d.ca.Pool(), Certificates: []tls.Certificate{d.identity}}
}

// connect connects a client that has not begun TLS yet.
func (d *door) connect(config *tls.Config) *peer {
	d.t.Helper()
	nc, err := net.Dial(d.addr.Network, d.addr.Address)
	must.Do(d.t, err)
	if config.ServerName == "" {
		config.ServerName = "127.0.0.1"
	}
	return newPeer(d.t, tls.Client(nc, config))
}

// mustServe checks that a client gets an answer.
func (d *door) mustServe(c *peer) {
	d.t.Helper()
	c.Send(packet(3, get("key")))
	d.target.Send(packet(d.target.Expect(get("key")), []byte("value")))
	c.ExpectAnswer(3, []byte("value"))
}

// mustRefuse checks that a client is refused. In TLS 1.3 the client learns that when it reads.
func (d *door) mustRefuse(c *peer) {
	d.t.Helper()
	_, err := c.Write(packet(1, get("key")))
	if err == nil {
		_, err = c.Next()
	}
	var alert tls.AlertError
	if !errors.As(err, &alert) && !errors.Is(err, syscall.ECONNRESET) && !strings.Contains(err.Error(), "remote error: tls") {
		d.t.Errorf("the client is not refused: %v", err)
	}
}

func TestTLS(t *testing.T) {
	d := newDoor(t, kvRules, mux.Source{})
	plain := dial(t, d.source(mux.Source{}))
	for range 3 {
		d.mustServe(d.connect(d.config()))
		d.mustServe(plain)
	}
}

// TestTLSCarriesEverything sends much data in both directions at once. It must arrive unchanged.
func TestTLSCarriesEverything(t *testing.T) {
	d := newDoor(t, nil, mux.Source{})
	d.echoing()
	var wg sync.WaitGroup
	for client := range 3 {
		c := d.connect(d.config())
		lengths := []int{0, 1, 16 << 10, 300_000, 5, 100_000, 3}
		record := func(i int) []byte { return blind(client, i, 2*lengths[i%len(lengths)]) }
		const n = 40
		wg.Go(func() {
			for i := range n {
				if _, err := c.Write(packet(uint64(i), record(i))); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			for i := range n {
				p, err := c.Next()
				if err != nil || p.ID != uint64(i) || !bytes.Equal(p.Record, record(i)) {
					t.Errorf("client %d: answer %d of %d bytes, %v; want %d", client, p.ID, len(p.Record), err, i)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestWhoIsRefused(t *testing.T) {
	d := newDoor(t, kvRules, mux.Source{Name: "door", Gate: eventloop.NewGate(1)})
	other := certtest.NewAuthority(t, "other")
	none, foreign, old := d.config(), d.config(), d.config()
	none.Certificates = nil
	foreign.Certificates = nil
	stranger := other.Issue("client")
	foreign.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		return &stranger, nil // even if the server has said that it does not suit
	}
	old.MaxVersion = tls.VersionTLS12
	for name, config := range map[string]*tls.Config{"no certificate": none, "another authority": foreign, "old TLS": old} {
		before := d.log.count("TLS handshake failed")
		d.mustRefuse(d.connect(config))
		must.Eventually(t, name+" is in the log", func() bool { return d.log.count("TLS handshake failed") == before+1 })
	}
	if d.log.count("source=door") != 3 || d.log.count("peer=127.0.0.1:") != 3 {
		t.Errorf("the log does not say who was refused:\n%s", d.log.b.String())
	}

	// A client without TLS that reads no answer.
	c := dial(t, d.addr)
	c.Send(packet(1, get("key")))
	if _, err := io.Copy(io.Discard, c); err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Fatal(err)
	}

	// The client also checks the server.
	suspicious := d.config()
	suspicious.RootCAs = other.Pool()
	if _, err := d.connect(suspicious).Write([]byte{0}); err == nil {
		t.Error("a client takes a server with a certificate of an unknown authority")
	}
	d.mustServe(d.connect(d.config())) // there is a place again
	d.target.ExpectSilence()
}

// TestServerCertificateAlone checks that without an authority for clients any client is accepted.
func TestServerCertificateAlone(t *testing.T) {
	d := newDoor(t, kvRules, mux.Source{})
	certs, err := mux.LoadCertificates(d.files.Cert, d.files.Key, "")
	must.Do(t, err)
	d.addr = d.source(mux.Source{TLS: certs})
	d.mustServe(d.connect(&tls.Config{RootCAs: d.ca.Pool()}))
}

// TestReload checks that new files apply to new connections, and that bad files change nothing.
func TestReload(t *testing.T) {
	d := newDoor(t, kvRules, mux.Source{})
	before := d.connect(d.config())
	d.mustServe(before)
	oldConfig := d.config()
	oldConfig.ClientSessionCache = tls.NewLRUClientSessionCache(1) // a ticket would admit it again
	d.mustServe(d.connect(oldConfig))

	must.Do(t, os.WriteFile(d.files.Cert, []byte("no certificate"), 0o600))
	if err := d.certs.Reload(); err == nil || !strings.Contains(err.Error(), d.files.Cert) {
		t.Fatalf("a bad certificate was loaded: %v", err)
	}
	d.mustServe(d.connect(d.config()))

	d.ca = certtest.NewAuthority(t, "new")
	d.files.Write(d.ca.Issue("server"), d.ca)
	must.Do(t, d.certs.Reload())
	d.mustServe(before)
	oldConfig.RootCAs = d.ca.Pool() // so that the server refuses, not the client
	d.mustRefuse(d.connect(oldConfig))
	d.identity = d.ca.Issue("client")
	d.mustServe(d.connect(d.config()))

	must.Do(t, os.WriteFile(d.files.ClientCA, nil, 0o600))
	if err := d.certs.Reload(); err == nil || !strings.Contains(err.Error(), d.files.ClientCA) {
		t.Fatalf("no authorities were loaded: %v", err)
	}
	must.Do(t, os.Remove(d.files.ClientCA))
	if err := d.certs.Reload(); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("missing authorities were loaded: %v", err)
	}
	d.mustServe(d.connect(d.config()))
}

func TestHalfClosedTLSClientGetsEveryAnswer(t *testing.T) {
	d := newDoor(t, kvRules, mux.Source{})
	c := d.connect(d.config())
	c.Send(packet(1, get("a")))
	id := d.target.Expect(get("a"))
	must.Do(t, c.CloseWrite())
	time.Sleep(silence)
	d.target.Send(packet(id, []byte("A")))
	c.ExpectAnswer(1, []byte("A"))
	c.ExpectEnd()
}

// TestBadRequestOverTLS checks that a client that sends a bad request gets earlier answers, and a
// proper end.
func TestBadRequestOverTLS(t *testing.T) {
	d := newDoor(t, kvRules, mux.Source{})
	c := d.connect(d.config())
	c.Send(packet(1, get("a")))
	id := d.target.Expect(get("a"))
	c.Send(packet(2, nil), make([]byte, 50_000)) // input that nobody will read
	must.Eventually(t, "the client is refused", func() bool { return d.log.count("client disconnected") == 1 })
	d.target.Send(packet(id, []byte("A")))
	c.ExpectAnswer(1, []byte("A"))
	if _, err := c.Next(); err != io.EOF {
		t.Errorf("the connection ends with %v", err)
	}
}

// TestTLSClientThatDoesNotRead checks that the mux stops reading from a client that does not read,
// over TLS too, and that others are served.
func TestTLSClientThatDoesNotRead(t *testing.T) {
	d := newDoor(t, nil, mux.Source{})
	d.echoing()
	slow, other := d.connect(d.config()), d.connect(d.config())
	sent := make(chan error, 1)
	const n, size = 4000, 4000
	go func() {
		for i := range n {
			if _, err := slow.Write(packet(uint64(i), make([]byte, size))); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	for start := time.Now(); time.Since(start) < 200*time.Millisecond; {
		other.Send(packet(5, []byte("quick")))
		other.ExpectAnswer(5, []byte("quick"))
	}
	select {
	case err := <-sent:
		t.Fatalf("16 MB were taken from a client that does not read, %v", err)
	default:
	}
	for i := range n {
		slow.ExpectAnswer(uint64(i), make([]byte, size))
	}
	must.Do(t, <-sent)
}

// TestTheEndWithTLS checks that the end comes soon, whatever clients with TLS are doing: shaking
// hands, being idle, or not reading. They only have time for what is on its way.
func TestTheEndWithTLS(t *testing.T) {
	for name, end := range map[string]func(d *door){
		"stop":        func(d *door) { d.mux.Stop(100 * time.Millisecond) },
		"target lost": func(d *door) { d.target.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			d := newDoor(t, nil, mux.Source{})
			silent := dial(t, d.addr)
			idle, deaf := d.connect(d.config()), d.connect(d.config())
			d.mustServe(idle)
			deaf.Send(packet(1, []byte("much")))
			id := d.target.Expect([]byte("much"))
			answer := make([]byte, 20<<20)
			d.target.Send(packet(id, answer))
			start := time.Now()
			end(d)
			idle.ExpectEnd()
			d.wait()
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("the end took %v", took)
			}
			silent.ExpectEnd()
		})
	}
}

// TestTLSClientThatIsSilent checks that a client that does not identify itself loses its place.
func TestTLSClientThatIsSilent(t *testing.T) {
	d := newDoor(t, nil, mux.Source{})
	d.mux.SetClocks(100*time.Millisecond, patience)
	dial(t, d.source(mux.Source{TLS: d.certs})).ExpectEnd()
	must.Eventually(t, "the log has it", func() bool { return d.log.count("TLS handshake failed") == 1 })
}

// TestTLSClientThatIsDeaf checks that a client that reads none of its answers loses its place.
func TestTLSClientThatIsDeaf(t *testing.T) {
	d := newDoor(t, nil, mux.Source{})
	d.mux.SetClocks(patience, 50*time.Millisecond)
	d.addr = d.source(mux.Source{TLS: d.certs, Gate: eventloop.NewGate(1)})
	deaf := d.connect(d.config())
	deaf.Send(packet(1, []byte("much")), packet(2, []byte("more")))
	much, more := d.target.Expect([]byte("much")), d.target.Expect([]byte("more"))
	d.target.Send(packet(much, make([]byte, 20<<20)))
	d.target.Send(packet(more, nil)) // only unread data keeps its place
	d.mustServe(d.connect(d.config()))
}

// TestPlacesOfTLSClients checks that the place of a client with TLS is taken until nothing of it is
// left.
func TestPlacesOfTLSClients(t *testing.T) {
	d := newDoor(t, kvRules, mux.Source{Gate: eventloop.NewGate(1)})
	for range 5 {
		c, next := d.connect(d.config()), make(chan error, 1)
		d.mustServe(c)
		waits := d.connect(d.config())
		go func() { next <- waits.Conn.Conn.(*tls.Conn).Handshake() }()
		select {
		case err := <-next:
			t.Fatalf("a second client is served, %v", err)
		case <-time.After(silence / 2):
		}
		c.Close()
		must.Do(t, <-next)
		waits.Close()
	}
}
