package eventloop_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"kivaloo/eventloop"
	"kivaloo/internal/must"
	"kivaloo/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long tests wait for what must happen. It is long enough for busy machines.
const patience = time.Minute

// networks are the kinds of sockets used by most tests.
var networks = []string{"unix", "tcp"}

// running is a loop in its goroutine.
type running struct {
	*eventloop.Loop
	t    testing.TB
	over chan struct{}
	err  error
}

// start runs a loop until the test ends.
func start(t testing.TB) *running { return startWith(t, slog.New(slog.DiscardHandler), nil) }

func startWith(t testing.TB, log *slog.Logger, prepare func(*eventloop.Loop)) *running {
	t.Helper()
	l, err := eventloop.New(log)
	must.Do(t, err)
	if prepare != nil {
		prepare(l)
	}
	r := &running{Loop: l, t: t, over: make(chan struct{})}
	go func() {
		r.err = l.Run()
		close(r.over)
	}()
	t.Cleanup(func() {
		l.Stop(0)
		r.wait()
	})
	return r
}

// wait waits for Run to return.
func (r *running) wait() {
	r.t.Helper()
	select {
	case <-r.over:
		if r.err != nil {
			r.t.Fatalf("Run: %v", r.err)
		}
	case <-time.After(must.Left(r.t)):
		r.t.Fatal("Run did not return")
	}
}

// do runs f on the loop and waits for it.
func (r *running) do(f func()) {
	r.t.Helper()
	done := make(chan struct{})
	if !r.Post(func() { f(); close(done) }) {
		r.t.Fatal("the loop is over")
	}
	<-done
}

// listen returns a listener of the given network.
func listen(t testing.TB, network string) *eventloop.Listener {
	t.Helper()
	addr := wire.Addr{Network: network, Address: "127.0.0.1:0"}
	if network == "unix" {
		addr.Address = filepath.Join(socketDir(t), "s")
	}
	ln, err := eventloop.Listen(addr, eventloop.ServeBacklog)
	must.Do(t, err)
	t.Cleanup(ln.Close)
	return ln
}

// socketDir returns a directory whose name is short enough for a socket.
func socketDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "loop")
	must.Do(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func dial(t testing.TB, ln *eventloop.Listener) net.Conn {
	t.Helper()
	nc, err := net.Dial(ln.Addr().Network, ln.Addr().Address)
	must.Do(t, err)
	t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(patience))
	return nc
}

// probe is a handler that keeps its packets until the test answers them.
type probe struct {
	c      *eventloop.Conn
	now    bool                            // answer at once, at the end of each read
	judge  func(id uint64, r []byte) error // if set, may refuse packets
	got    atomic.Int64                    // packets
	ended  chan error
	closed chan struct{}

	// Of the loop.
	owed []answer
	out  *eventloop.Output
}

type answer struct {
	id     uint64
	record []byte
}

func (p *probe) Packet(id uint64, record []byte) error {
	if p.judge != nil {
		if err := p.judge(id, record); err != nil {
			return err
		}
	}
	p.got.Add(1)
	p.c.Owe(1, 0)
	if !p.now {
		p.owed = append(p.owed, answer{id, p.c.Keep(record)})
		return nil
	}
	if p.out == nil {
		p.out = p.c.NewOutput()
	}
	p.out.Buf = wire.AppendPacket(p.out.Buf, id, record)
	p.out.Answered++
	return nil
}

func (p *probe) Pushed() {
	if p.out != nil {
		p.c.Send(p.out)
		p.out = nil
	}
}

func (p *probe) Ended(why error) { p.ended <- why }
func (p *probe) Closed()         { close(p.closed) }

// answer sends the first n owed answers, one Output for each.
func (p *probe) answer(r *running, n int) {
	r.t.Helper()
	r.do(func() {
		for range n {
			a := p.owed[0]
			p.owed = p.owed[1:]
			o := p.c.NewOutput()
			o.Buf = wire.AppendPacket(o.Buf, a.id, a.record)
			o.Answered = 1
			p.c.Send(o)
		}
	})
}

func (p *probe) waitGot(t testing.TB, n int) {
	t.Helper()
	eventually(t, func() bool { return p.got.Load() >= int64(n) })
	if got := p.got.Load(); got != int64(n) {
		t.Fatalf("the handler got %d packets, want %d", got, n)
	}
}

func (p *probe) waitEnded(t testing.TB) error {
	t.Helper()
	select {
	case err := <-p.ended:
		return err
	case <-time.After(must.Left(t)):
		t.Fatal("the connection did not end")
		return nil
	}
}

func (p *probe) waitClosed(t testing.TB) {
	t.Helper()
	select {
	case <-p.closed:
	case <-time.After(must.Left(t)):
		t.Fatal("the connection was not closed")
	}
}

func (p *probe) isClosed() bool {
	select {
	case <-p.closed:
		return true
	default:
		return false
	}
}

// probes makes handlers, and passes them to the test as connections are accepted.
type probes struct {
	t     testing.TB
	now   bool
	judge func(id uint64, r []byte) error
	made  chan *probe
}

func newProbes(t testing.TB, now bool) *probes {
	return &probes{t: t, now: now, made: make(chan *probe, 20000)}
}

func (ps *probes) handle(c *eventloop.Conn) eventloop.Handler {
	p := &probe{c: c, now: ps.now, judge: ps.judge, ended: make(chan error, 1), closed: make(chan struct{})}
	ps.made <- p
	return p
}

func (ps *probes) next() *probe {
	ps.t.Helper()
	select {
	case p := <-ps.made:
		return p
	case <-time.After(must.Left(ps.t)):
		ps.t.Fatal("no connection was accepted")
		return nil
	}
}

// options serves ps practically without a limit.
func (ps *probes) options() eventloop.ServeOptions {
	return eventloop.ServeOptions{MaxRecord: 1 << 30, New: ps.handle}
}

// eventually waits until cond holds.
func eventually(t testing.TB, cond func() bool) {
	t.Helper()
	must.Eventually(t, "what the test waits for", cond)
}

// steady waits until n has stopped changing for a while.
func steady(n func() int64) int64 {
	last := n()
	for still := 0; still < 10; still++ {
		time.Sleep(10 * time.Millisecond)
		if now := n(); now != last {
			last, still = now, 0
		}
	}
	return last
}

// record returns n bytes that depend on id.
func record(id uint64, n int) []byte {
	return bytes.Repeat(binary.BigEndian.AppendUint64(nil, id*0x9e3779b97f4a7c15), n/8+1)[:n]
}

func packet(id uint64, n int) []byte { return wire.AppendPacket(nil, id, record(id, n)) }

func write(t testing.TB, nc net.Conn, b []byte) {
	t.Helper()
	if _, err := nc.Write(b); err != nil {
		t.Fatal(err)
	}
}

// readPacket reads one packet, with a record of n bytes that belongs to id.
func readPacket(t testing.TB, from io.Reader, id uint64, n int) {
	t.Helper()
	must.Do(t, tryPacket(from, id, n))
}

// tryPacket is readPacket for goroutines other than the test's.
func tryPacket(from io.Reader, id uint64, n int) error {
	b := make([]byte, wire.Overhead+n)
	if _, err := io.ReadFull(from, b); err != nil {
		return fmt.Errorf("packet %d: %w", id, err)
	}
	if !bytes.Equal(b, packet(id, n)) {
		return fmt.Errorf("packet %d: not what was sent", id)
	}
	return nil
}

// readEnd checks that the peer has closed the connection, with nothing more sent.
func readEnd(t testing.TB, from io.Reader) {
	t.Helper()
	if n, err := from.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Fatalf("read %d bytes, %v; want the end of the stream", n, err)
	}
}

func halfClose(t testing.TB, nc net.Conn) {
	t.Helper()
	must.Do(t, nc.(interface{ CloseWrite() error }).CloseWrite())
}

// countFDs returns the number of open descriptors of this process.
func countFDs(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	must.Do(t, err)
	return len(entries)
}

// logLines is a searchable log.
type logLines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logLines) count(s string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Count(l.b.Bytes(), []byte(s))
}
