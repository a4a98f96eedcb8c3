package blackbox

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kivaloo/cmd/internal/blackbox/kvtest"
	"kivaloo/cmd/internal/daemon/daemontest"
	"kivaloo/internal/must"
	"kivaloo/wire"
)

const (
	// crowd is how many connections do nothing, if the system lets a process have so many.
	crowd = 10_000

	// idleBytes bounds the memory of serve for each of them.
	idleBytes = 4 << 10

	// ownFiles is how many descriptors the test itself needs.
	ownFiles = 1000
)

// TestIdleCrowd checks that thousands of idle connections take little memory, and that nobody else
// notices.
func TestIdleCrowd(t *testing.T) {
	t.Parallel()
	n := min(crowd, raiseFileLimit(t)-ownFiles)
	s := newServe(t, "--cache", "4M", "--no-sync")
	s.start(t)
	w := newWitness(t, s.addr())
	before := memory(t, s.process.Pid, "VmRSS")
	for i := range n {
		nc := dialIdle(t, s.addr())
		defer nc.Close()
		if i%500 == 0 {
			w.look(t)
		}
	}
	// Connections are accepted in order: when the last one is served, all are.
	last := connect(t, s.addr())
	if value, err := last.Get("watched"); err != nil || string(value) != "good" {
		t.Fatalf("the last of %d connections: %q, %v", n, value, err)
	}
	for range 100 {
		w.look(t)
	}
	if grown := memory(t, s.process.Pid, "VmHWM") - before; grown > int64(n)*idleBytes && !daemontest.Race {
		t.Errorf("serve took %d bytes for %d idle connections", grown, n)
	}
	s.stop(t) // closes all connections
}

// TestCrowdThatDoesNotRead has many connections ask for much and read nothing. Serve's memory must
// stay bounded, others must be served, and the answers must be there when the connections want
// them.
func TestCrowdThatDoesNotRead(t *testing.T) {
	t.Parallel()
	const (
		pairs = 10_000 // 2.5 MB in total
		asked = 5      // RANGEs of each connection
		// Without the bound each of the crowd could have 1 MiB, in buffers of twice that size.
		mostBytes = int64(64 << 20)
	)
	n := min(2000, raiseFileLimit(t)-ownFiles)
	s := newServe(t, "--cache", "16M", "--no-sync")
	s.start(t)
	w := newWitness(t, s.addr())
	c := connect(t, s.addr())
	for i := range pairs {
		c.Queue(&wire.KVRequest{Type: wire.TypeSet, Key: fmt.Appendf(nil, "%06d", i), Value: bytes.Repeat([]byte{'v'}, 250)})
		if i%1000 == 999 {
			must.Do(t, c.Flush())
			for range 1000 {
				if _, err := c.Next(); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	before := memory(t, s.process.Pid, "VmHWM")
	whole := wire.KVRequest{Type: wire.TypeRange, Max: 1 << 20, Key: []byte("0"), End: []byte("1")}
	deaf := make([]*kvtest.Conn, n)
	for i := range deaf {
		deaf[i] = kvtest.NewConn(dialIdle(t, s.addr()))
		defer deaf[i].Close()
		for range asked {
			deaf[i].Queue(&whole)
		}
		must.Do(t, deaf[i].Flush())
		if i%100 == 0 {
			w.look(t)
		}
	}
	if found := readAll(t, s.addr()); len(found) < pairs {
		t.Errorf("%d pairs are there, want %d", len(found), pairs)
	}
	grown := memory(t, s.process.Pid, "VmHWM") - before
	t.Logf("serve took %d MB for %d connections", grown>>20, n)
	if grown > mostBytes && !daemontest.Race {
		t.Errorf("serve took %d bytes for %d connections that do not read", grown, n)
	}
	for i := 0; i < n; i += n / 20 {
		for range asked {
			p, err := deaf[i].Next()
			must.Do(t, err)
			if count, _, _, err := wire.ParseKVPairs(p.Record, whole.Max); err != nil || count == 0 {
				t.Errorf("connection %d: answer of %d pairs, %v", i, count, err)
			}
		}
	}
}

// TestCrowdOfChanges has many connections send changes faster than they can be made. The waiting
// changes must take little memory.
func TestCrowdOfChanges(t *testing.T) {
	t.Parallel()
	const (
		asked     = 100             // long requests of each connection
		mostBytes = int64(64 << 20) // for the requests, and garbage
	)
	n := min(2000, raiseFileLimit(t)-ownFiles)
	s := newServe(t, "--cache", "16M", "--no-sync", "--commit-delay", "200ms") // like a stalling disk
	s.start(t)
	before := memory(t, s.process.Pid, "VmHWM")
	long := bytes.Repeat([]byte{'x'}, 255)
	conns := make([]*kvtest.Conn, n)
	for i := range conns {
		conns[i] = kvtest.NewConn(dialIdle(t, s.addr()))
		defer conns[i].Close()
		for range asked {
			conns[i].Queue(&wire.KVRequest{Type: wire.TypeCAS, Key: long, Old: long, Value: long})
		}
		must.Do(t, conns[i].Flush())
	}
	for range 8 { // by now some connections have been read again
		if _, err := conns[n-1].Next(); err != nil {
			t.Fatal(err)
		}
	}
	grown := memory(t, s.process.Pid, "VmHWM") - before
	t.Logf("serve took %d MB for %d connections", grown>>20, n)
	if grown > mostBytes && !daemontest.Race {
		t.Errorf("serve took %d bytes for %d connections whose changes wait", grown, n)
	}
}

// TestCrowdWhileTheDiskStalls has many connections with as many long changes in flight as the
// server allows, while the disk stalls. The server must keep few of them, and carry out all of them
// when the disk continues.
func TestCrowdWhileTheDiskStalls(t *testing.T) {
	t.Parallel()
	const (
		asked = 64 // of each connection
		// All requests take 100 MB. Those in the sockets do not count.
		mostBytes = int64(40 << 20)
	)
	n := min(2000, raiseFileLimit(t)-ownFiles)
	d := newDaemons(t, 2048, "-n", fmt.Sprint(n), "-c", "16777216")
	d.start(t)
	long := bytes.Repeat([]byte{'x'}, 255)
	conns := make([]*kvtest.Conn, n)
	for i := range conns {
		conns[i] = kvtest.NewConn(dialIdle(t, d.addr()))
		defer conns[i].Close()
	}
	must.Do(t, conns[n-1].Set("connected", "all"))
	before := memory(t, d.kvlds.Pid, "VmHWM")
	thaw := freeze(t, d.lbs)
	for _, c := range conns {
		c.Queue(&wire.KVRequest{Type: wire.TypeSet, Key: long})
		for range asked {
			c.Queue(&wire.KVRequest{Type: wire.TypeCAS, Key: long, Old: long, Value: long})
		}
		must.Do(t, c.Flush())
	}
	last := int64(0)
	must.Eventually(t, "read no more", func() bool {
		time.Sleep(200 * time.Millisecond)
		grown := memory(t, d.kvlds.Pid, "VmHWM")
		done := grown == last
		last = grown
		return done
	})
	grown := last - before
	t.Logf("kvlds took %d MB for %d connections", grown>>20, n)
	if grown > mostBytes && !daemontest.Race {
		t.Errorf("kvlds took %d bytes for %d connections whose changes wait for the disk", grown, n)
	}
	thaw()
	for _, c := range conns {
		must.Do(t, c.SetDeadline(time.Now().Add(patience)))
		for range asked + 1 {
			_, err := c.Next()
			must.Do(t, err)
		}
	}
	d.stop(t)
}

// raiseFileLimit raises the limit of open files of this process as far as permitted, and returns
// it.
func raiseFileLimit(t *testing.T) int {
	t.Helper()
	var r unix.Rlimit
	must.Do(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &r))
	want := unix.Rlimit{Cur: max(r.Cur, crowd+ownFiles), Max: max(r.Max, crowd+ownFiles)}
	if unix.Setrlimit(unix.RLIMIT_NOFILE, &want) == nil {
		r = want
	}
	return int(min(r.Cur, 1<<20))
}

// dialIdle connects, retrying while the backlog is full.
func dialIdle(t *testing.T, addr string) net.Conn {
	t.Helper()
	var nc net.Conn
	must.Eventually(t, "connected", func() bool {
		var err error
		if nc, err = net.Dial("unix", addr); err != nil && !errors.Is(err, syscall.EAGAIN) {
			t.Fatal(err)
		}
		return err == nil
	})
	return nc
}

// TestNoDescriptorsLeft checks that serve, without free descriptors, only stops accepting
// connections for a while. It must serve those that it has, including changes, and accept others
// when some have left.
func TestNoDescriptorsLeft(t *testing.T) {
	t.Parallel()
	const (
		files   = 120 // that serve may have open
		many    = 200 // number of clients
		atLeast = 20  // that must be served
	)
	for _, option := range []string{"0", "1000"} {
		t.Run("max-connections "+option, func(t *testing.T) {
			t.Parallel()
			s := newServe(t, "--max-connections", option, "--block-size", "512", "--storage-cost", "0", "--no-sync")
			limited := s.command()
			script := fmt.Sprintf(`ulimit -n %d; exec "$0" "$@"`, files)
			s.startCommand(t, exec.Command("/bin/sh", append([]string{"-c", script}, limited.Args...)...))

			c := newClients(t, s.addr(), many)
			for len(c.served) < atLeast {
				c.wait(t)
			}
			// These are so many that the store grows by several files.
			for i := range 200 {
				if err := c.served[i%atLeast].Set(fmt.Sprint("more ", i), strings.Repeat("v", 90)); err != nil {
					t.Fatalf("change %d, while no descriptors are left: %v; serve said %s", i, err, s.said(t))
				}
			}
			if n := len(blockFiles(t, s.dir())); n < 10 {
				t.Errorf("the store has %d files: nothing has been tried", n)
			}
			for len(c.answered) > 0 {
				c.wait(t)
			}
			if n := len(c.served); n > files {
				t.Fatalf("%d clients are served, with %d descriptors", n, files)
			}
			for i := 0; len(c.served) < many; i++ {
				c.served[i].Close()
				c.wait(t)
			}
			s.stop(t)
			checkStore(t, s.dir())
		})
	}
}

// clients are connections that each have made one request.
type clients struct {
	served   []*kvtest.Conn // have got the answer
	answered chan answered
}

type answered struct {
	conn *kvtest.Conn
	err  error
}

// newClients connects n clients to a server.
func newClients(t *testing.T, addr string, n int) *clients {
	t.Helper()
	c := &clients{answered: make(chan answered, n)}
	var group sync.WaitGroup
	t.Cleanup(group.Wait) // after the connections have been closed
	for i := range n {
		conn := connect(t, addr)
		conn.Queue(&wire.KVRequest{Type: wire.TypeSet, Key: fmt.Append(nil, i)})
		must.Do(t, conn.Flush())
		group.Go(func() {
			_, err := conn.Next()
			c.answered <- answered{conn, err}
		})
	}
	return c
}

// wait waits until another client has got its answer.
func (c *clients) wait(t *testing.T) {
	t.Helper()
	select {
	case a := <-c.answered:
		if a.err != nil {
			t.Fatalf("after %d clients: %v", len(c.served), a.err)
		}
		c.served = append(c.served, a.conn)
	case <-time.After(patience):
		t.Fatalf("%d clients are served, and no more", len(c.served))
	}
}
