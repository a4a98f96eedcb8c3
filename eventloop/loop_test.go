package eventloop_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kivaloo/eventloop"
	"kivaloo/internal/must"
	"kivaloo/wire"
)

func TestStopFlushesWhatIsQueued(t *testing.T) {
	each(t, false, func(t *testing.T, r *running, ps *probes, ln *eventloop.Listener) {
		const requests, size = 2000, 1000
		nc := dial(t, ln)
		p := ps.next()
		sent := sendAll(nc, requests, size)
		p.waitGot(t, requests)
		must.Do(t, <-sent)
		p.answer(r, requests-1) // 2 MB, more than the kernel takes
		r.Stop(patience)
		r.Stop(patience)
		if err := p.waitEnded(t); err != nil {
			t.Fatalf("ended with %v", err)
		}
		eventually(t, func() bool { // nothing listens any more
			nc, err := net.Dial(ln.Addr().Network, ln.Addr().Address)
			if err == nil {
				nc.Close()
			}
			return err != nil
		})
		for id := range uint64(requests - 1) {
			readPacket(t, nc, id, size)
		}
		p.answer(r, 1) // the loop waits for owed answers
		readPacket(t, nc, requests-1, size)
		readEnd(t, nc)
		r.wait()
		p.waitClosed(t)
	})
}

func TestStopGivesUpAfterGrace(t *testing.T) {
	each(t, false, func(t *testing.T, r *running, ps *probes, ln *eventloop.Listener) {
		deaf, owed := dial(t, ln), dial(t, ln)
		p := ps.next()
		write(t, deaf, packet(1, 8<<20))
		p.waitGot(t, 1)
		p.answer(r, 1)
		q := ps.next()
		write(t, owed, packet(1, 100))
		q.waitGot(t, 1)
		began := time.Now()
		r.Stop(200 * time.Millisecond)
		r.wait()
		if took := time.Since(began); took < 150*time.Millisecond || took > patience/2 {
			t.Fatalf("Run returned after %v", took)
		}
		for _, p := range []*probe{p, q} {
			p.waitEnded(t)
			p.waitClosed(t)
		}
	})
}

func TestSecondStopShortensTheGrace(t *testing.T) {
	r, ps, ln := start(t), newProbes(t, false), listen(t, "unix")
	r.Serve(ln, ps.options())
	nc := dial(t, ln)
	write(t, nc, packet(1, 100))
	ps.next().waitGot(t, 1)
	r.Stop(time.Hour)
	r.Stop(0)
	r.Stop(time.Hour)
	r.wait()
}

func TestStopWithoutConnections(t *testing.T) {
	r, ln := start(t), listen(t, "unix")
	r.Serve(ln, newProbes(t, false).options())
	r.Stop(time.Hour)
	r.wait()
}

func TestStopBeforeRun(t *testing.T) {
	l, err := eventloop.New(slog.New(slog.DiscardHandler))
	must.Do(t, err)
	l.Stop(0)
	must.Do(t, l.Run())
	if l.Post(func() { t.Error("a post ran after Run") }) {
		t.Fatal("a post was taken after Run")
	}
	l.Serve(listen(t, "unix"), eventloop.ServeOptions{})
}

// TestNothingIsLeftBehind counts descriptors. goleak counts goroutines.
func TestNothingIsLeftBehind(t *testing.T) {
	warmUp := listen(t, "tcp")
	dial(t, warmUp).Close() // the library opens descriptors of its own once
	warmUp.Close()
	before := countFDs(t)

	r, ps := start(t), newProbes(t, false)
	var clients []net.Conn
	for _, network := range networks {
		ln := listen(t, network)
		r.Serve(ln, ps.options())
		for i := range 20 {
			nc := dial(t, ln)
			clients = append(clients, nc)
			p := ps.next()
			whole := packet(1, 1000)
			switch i % 4 {
			case 0:
				write(t, nc, whole[:500])
				nc.Close()
			case 1:
				write(t, nc, whole)
				p.waitGot(t, 1)
			case 2:
				write(t, nc, whole)
				halfClose(t, nc)
			}
		}
	}
	near, far := net.Pipe()
	defer far.Close()
	if _, err := r.Attach(near, 100, ps.handle); err == nil {
		t.Fatal("attached what is no socket")
	}
	r.Stop(0)
	r.wait()
	for _, nc := range clients {
		nc.Close()
	}
	if after := countFDs(t); after != before {
		t.Fatalf("%d descriptors are open, %d were before", after, before)
	}
}

// TestSendAfterRun checks that nothing is written to the poller's descriptors after Run. They may
// belong to other files by then.
func TestSendAfterRun(t *testing.T) {
	r, ps, ln := start(t), newProbes(t, false), listen(t, "unix")
	r.Serve(ln, ps.options())
	nc := dial(t, ln)
	p := ps.next()
	write(t, nc, packet(1, 10))
	p.waitGot(t, 1)
	r.Stop(0)
	r.wait()

	var files []*os.File
	for i := range 20 {
		f, err := os.Create(filepath.Join(t.TempDir(), fmt.Sprint(i)))
		must.Do(t, err)
		defer f.Close()
		files = append(files, f)
	}
	for range 10 {
		o := p.c.NewOutput()
		o.Buf = append(o.Buf, "late"...)
		p.c.Send(o)
		p.c.Close()
		r.Stop(0)
	}
	for _, f := range files {
		if info, err := f.Stat(); err != nil || info.Size() != 0 {
			t.Fatalf("%d bytes were written to a stranger's file (%v)", info.Size(), err)
		}
	}
}

func TestPostsRunInOrder(t *testing.T) {
	r := start(t)
	var got []int
	for i := range 1000 {
		r.Post(func() { got = append(got, i) })
	}
	r.do(func() {
		if len(got) != 1000 || !slices.IsSorted(got) {
			t.Errorf("the posts ran as %v", got)
		}
	})
}

// TestSendersAreHeard has many goroutines answer at their own pace, so that every order of pushing
// and waiting occurs.
func TestSendersAreHeard(t *testing.T) {
	r, ps, ln := start(t), newProbes(t, false), listen(t, "unix")
	r.Serve(ln, ps.options())
	const senders, each = 8, 500
	nc := dial(t, ln)
	p := ps.next()
	var wg sync.WaitGroup
	for range senders {
		wg.Go(func() {
			for i := range each {
				o := p.c.NewOutput()
				o.Buf = append(o.Buf, make([]byte, 10)...)
				p.c.Send(o)
				if i%50 == 0 {
					time.Sleep(time.Millisecond)
				}
			}
		})
	}
	b := make([]byte, senders*each*10)
	if _, err := io.ReadFull(nc, b); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
}

func TestOneConnectionAtATime(t *testing.T) {
	for _, network := range networks {
		t.Run(network, func(t *testing.T) {
			r, ps, ln := start(t), newProbes(t, false), listen(t, network)
			opts := ps.options()
			opts.MaxConns = 1
			r.Serve(ln, opts)
			first, second, third := dial(t, ln), dial(t, ln), dial(t, ln)
			p := ps.next()
			write(t, second, packet(2, 10))
			write(t, third, packet(3, 10))
			write(t, first, packet(1, 10))
			p.waitGot(t, 1)
			first.Close()
			p.waitEnded(t)
			time.Sleep(20 * time.Millisecond)
			if len(ps.made) > 0 {
				t.Fatal("the second connection was accepted while an answer was owed on the first")
			}
			p.answer(r, 1)
			for id, nc := range []net.Conn{second, third} {
				q := ps.next()
				if !p.isClosed() {
					t.Fatal("the next connection was accepted before the last was closed")
				}
				q.waitGot(t, 1)
				q.answer(r, 1)
				readPacket(t, nc, uint64(id+2), 10)
				nc.Close()
				p = q
			}
		})
	}
}

// counted is a probe that counts its open connections.
type counted struct {
	*probe
	open *atomic.Int64
}

func (c counted) Closed() {
	c.open.Add(-1)
	c.probe.Closed()
}

func TestListenersShareAGate(t *testing.T) {
	const max, clients = 2, 12
	r, other, ps := start(t), start(t), newProbes(t, true)
	var open, most atomic.Int64
	opts := ps.options()
	opts.Gate = eventloop.NewGate(max)
	opts.New = func(c *eventloop.Conn) eventloop.Handler {
		if n := open.Add(1); n > most.Load() {
			most.Store(n)
		}
		return counted{ps.handle(c).(*probe), &open}
	}
	lns := []*eventloop.Listener{listen(t, "unix"), listen(t, "tcp"), listen(t, "unix")}
	r.Serve(lns[0], opts)
	r.Serve(lns[1], opts)
	other.Serve(lns[2], opts)
	var wg sync.WaitGroup
	for i := range clients {
		nc := dial(t, lns[i%len(lns)])
		write(t, nc, packet(1, 10))
		wg.Go(func() {
			if err := tryPacket(nc, 1, 10); err != nil {
				t.Error(err)
			}
			time.Sleep(5 * time.Millisecond)
			nc.Close()
		})
	}
	wg.Wait()
	if most.Load() != max {
		t.Fatalf("%d connections were open at once, want %d", most.Load(), max)
	}
}

// TestOutOfDescriptors lowers the limit to the number in use.
func TestOutOfDescriptors(t *testing.T) {
	var log logLines
	r := startWith(t, slog.New(slog.NewTextHandler(&log, nil)), func(l *eventloop.Loop) {
		l.SetClocks(50*time.Millisecond, time.Minute)
	})
	ps, ln := newProbes(t, true), listen(t, "unix")
	r.Serve(ln, ps.options())
	served := dial(t, ln)
	ps.next()
	const waiting = 5
	var clients [waiting]int
	for i := range clients {
		clients[i] = rawSocket(t)
		defer unix.Close(clients[i])
	}
	defer limitFDs(t, 64)()
	var full []int // uses up all descriptors below the limit
	defer func() {
		for _, fd := range full {
			unix.Close(fd)
		}
	}()
	for {
		fd, err := unix.Dup(0)
		if err != nil {
			break
		}
		full = append(full, fd)
	}

	for _, fd := range clients {
		rawConnect(t, fd, ln)
	}
	eventually(t, func() bool { return log.count("cannot accept") > 0 })
	for id := range uint64(10) {
		write(t, served, packet(id, 10))
		readPacket(t, served, id, 10)
	}
	time.Sleep(200 * time.Millisecond) // some ticks
	if n := log.count("cannot accept"); n != 1 {
		t.Fatalf("%d warnings", n)
	}
	if len(ps.made) > 0 {
		t.Fatal("a connection was accepted without a descriptor")
	}
	for range waiting {
		unix.Close(full[0])
		full = full[1:]
	}
	for _, fd := range clients {
		rawEcho(t, fd)
	}
}

// limitFDs lowers the limit on descriptors. It skips the test if more are in use.
func limitFDs(t *testing.T, n uint64) (restore func()) {
	t.Helper()
	var old unix.Rlimit
	must.Do(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &old))
	if uint64(countFDs(t))+20 > n {
		t.Skipf("more than %d descriptors are open", n)
	}
	must.Do(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: n, Max: old.Max}))
	return func() { unix.Setrlimit(unix.RLIMIT_NOFILE, &old) }
}

// TestIdleConnections opens as many connections as the limit on descriptors allows, and checks
// their cost.
func TestIdleConnections(t *testing.T) {
	const wanted, perConnectionBytes = 10_000, 2000 // 20 MB in all
	var limit unix.Rlimit
	must.Do(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
	n := min(wanted, (int(limit.Cur)-200)/2)
	r, ps, ln := start(t), newProbes(t, true), listen(t, "unix")
	r.Serve(ln, ps.options())
	before := heap()
	clients := make([]int, 0, n)
	defer func() {
		for _, fd := range clients {
			unix.Close(fd)
		}
	}()
	for range n {
		fd := rawSocket(t)
		clients = append(clients, fd)
		rawConnect(t, fd, ln)
	}
	for _, fd := range clients { // each was used, and is idle since
		rawEcho(t, fd)
	}
	if grown := heap() - before; grown > int64(n*perConnectionBytes) {
		t.Fatalf("%d idle connections take %d bytes, %d each", n, grown, grown/int64(n))
	} else {
		t.Logf("%d idle connections take %d bytes each", n, grown/int64(n))
	}
	nc := dial(t, ln)
	write(t, nc, packet(1, 10))
	readPacket(t, nc, 1, 10)
}

// rawSocket returns a blocking socket, without the overhead of Go's library.
func rawSocket(t *testing.T) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must.Do(t, err)
	timeout := unix.NsecToTimeval(int64(patience))
	must.Do(t, unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout))
	return fd
}

func rawConnect(t *testing.T, fd int, ln *eventloop.Listener) {
	t.Helper()
	must.Do(t, unix.Connect(fd, &unix.SockaddrUnix{Name: ln.Addr().Address}))
}

// rawEcho sends a packet and reads it back.
func rawEcho(t *testing.T, fd int) {
	t.Helper()
	p := packet(7, 100)
	if _, err := unix.Write(fd, p); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, len(p))
	n, err := unix.Read(fd, answer)
	for err == unix.EINTR { // with a timeout it is not restarted
		n, err = unix.Read(fd, answer)
	}
	if err != nil || !bytes.Equal(answer[:n], p) {
		t.Fatalf("read %d bytes, %v", n, err)
	}
}

// TestAttach connects two of our loops. Both send more than the kernel and the windows hold before
// either reads.
func TestAttach(t *testing.T) {
	for _, network := range networks {
		t.Run(network, func(t *testing.T) {
			r, ps, ln := start(t), newProbes(t, true), listen(t, network)
			r.Serve(ln, ps.options())
			client := start(t)
			nc, err := wire.Dial(context.Background(), []wire.Addr{ln.Addr()})
			must.Do(t, err)
			const requests, size = 64, 200_000
			p := &receiver{closed: make(chan struct{})}
			c, err := client.Attach(nc, size, func(c *eventloop.Conn) eventloop.Handler { return p })
			must.Do(t, err)
			for id := range uint64(requests) {
				o := c.NewOutput()
				o.Buf = wire.AppendPacket(o.Buf, id, record(id, size))
				c.Send(o)
			}
			eventually(t, func() bool { return p.got.Load() == requests })
			c.Close()
			<-p.closed
			if p.bad.Load() != 0 {
				t.Fatalf("%d answers were not what was sent", p.bad.Load())
			}
		})
	}
}

// receiver counts answers.
type receiver struct {
	got, bad atomic.Int64
	closed   chan struct{}
}

func (p *receiver) Packet(id uint64, r []byte) error {
	if string(r) != string(record(id, len(r))) || id != uint64(p.got.Load()) {
		p.bad.Add(1)
	}
	p.got.Add(1)
	return nil
}

func (p *receiver) Pushed()     {}
func (p *receiver) Ended(error) {}
func (p *receiver) Closed()     { close(p.closed) }

func TestAttachToStoppedLoop(t *testing.T) {
	r, ps, ln := start(t), newProbes(t, true), listen(t, "unix")
	r.Serve(ln, ps.options())
	l, err := eventloop.New(slog.New(slog.DiscardHandler))
	must.Do(t, err)
	l.Stop(0)
	p := &receiver{closed: make(chan struct{})}
	attach := func() error {
		_, err := l.Attach(dial(t, ln), 100, func(*eventloop.Conn) eventloop.Handler { return p })
		return err
	}
	if err := attach(); err != nil { // the loop does not know yet
		t.Fatal(err)
	}
	must.Do(t, l.Run())
	<-p.closed
	if err := attach(); err != eventloop.ErrStopped {
		t.Fatalf("Attach returned %v", err)
	}
}
