package wiretest

import (
	"bytes"
	"net"
	"testing"

	"kivaloo/internal/must"
	"kivaloo/wire"
)

// Peer is a Conn of one test. Anything unexpected ends the test.
type Peer struct {
	*Conn
	T testing.TB
}

// NewPeer uses nc for packets, and closes it when the test ends.
func NewPeer(t testing.TB, nc net.Conn) *Peer {
	t.Cleanup(func() { nc.Close() })
	return &Peer{NewConn(nc), t}
}

// DialPeer connects to a server.
func DialPeer(t testing.TB, a wire.Addr) *Peer {
	t.Helper()
	nc, err := net.Dial(a.Network, a.Address)
	must.Do(t, err)
	return NewPeer(t, nc)
}

// Send sends packets in one write.
func (p *Peer) Send(packets ...[]byte) {
	p.T.Helper()
	must.Do(p.T, p.Put(bytes.Join(packets, nil)))
}

// Receive returns the next packet, which must arrive.
func (p *Peer) Receive() (id uint64, record []byte) {
	p.T.Helper()
	packet, err := p.Next()
	must.Do(p.T, err)
	return packet.ID, packet.Record
}

// Expect receives a packet with this record, and returns its ID.
func (p *Peer) Expect(record []byte) uint64 {
	p.T.Helper()
	id, got := p.Receive()
	if !bytes.Equal(got, record) {
		p.T.Fatalf("got packet %d: %.100x, want %.100x", id, got, record)
	}
	return id
}

// ExpectAnswer receives the answer to request id.
func (p *Peer) ExpectAnswer(id uint64, record []byte) {
	p.T.Helper()
	if got := p.Expect(record); got != id {
		p.T.Fatalf("got an answer to request %d, want one to %d", got, id)
	}
}

// ExpectEnd waits for the other end to close the connection without sending anything more.
func (p *Peer) ExpectEnd() {
	p.T.Helper()
	must.Do(p.T, p.Closed())
}

// ExpectSilence checks that nothing arrives for a while.
func (p *Peer) ExpectSilence() {
	p.T.Helper()
	must.Do(p.T, p.Silent())
}
