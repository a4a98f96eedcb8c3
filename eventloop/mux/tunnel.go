package mux

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// tunnels are the connections with TLS.
type tunnels struct {
	log     *complaints
	running sync.WaitGroup

	mu   sync.Mutex
	open map[*tunnel]struct{}

	// Copies of constants, which tests shorten.
	handshakeFor, stallFor time.Duration
}

func newTunnels(log *complaints) *tunnels {
	return &tunnels{
		log: log, open: make(map[*tunnel]struct{}),
		handshakeFor: handshakeTimeout, stallFor: stallTimeout,
	}
}

// via returns what connects the sockets of a source to the loop: see eventloop.ServeOptions.
func (ts *tunnels) via(source string, certs *Certificates) func(int, string, func()) (int, error) {
	return func(fd int, peer string, leave func()) (int, error) {
		socket, err := connOf(fd)
		if err != nil {
			return 0, err
		}
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			socket.Close()
			return 0, os.NewSyscallError("socketpair", err)
		}
		inner, err := connOf(pair[0])
		if err != nil {
			socket.Close()
			unix.Close(pair[1])
			return 0, err
		}
		t := &tunnel{
			all:    ts,
			socket: socket.(*net.TCPConn),
			client: tls.Server(socket, certs.config.Load()),
			loop:   inner.(*net.UnixConn),
		}
		ts.add(t)
		ts.running.Go(func() {
			defer leave()
			defer ts.remove(t)
			if err := t.run(); err != nil {
				ts.log.add("TLS handshake failed", source, peer, err)
			}
		})
		return pair[1], nil
	}
}

// connOf makes a net.Conn of the socket fd. It takes fd over, even if it fails.
func connOf(fd int) (net.Conn, error) {
	f := os.NewFile(uintptr(fd), "socket")
	defer f.Close()
	return net.FileConn(f)
}

func (ts *tunnels) add(t *tunnel) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	ts.open[t] = struct{}{}
}

func (ts *tunnels) remove(t *tunnel) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	delete(ts.open, t)
}

// close waits for all connections to end, as they do after the loop has closed them. It cuts off
// those left after grace. There must be no new ones.
func (ts *tunnels) close(grace time.Duration) {
	cut := time.AfterFunc(grace, func() {
		ts.mu.Lock()
		defer ts.mu.Unlock()
		for t := range ts.open {
			t.socket.Close()
		}
	})
	ts.running.Wait()
	cut.Stop()
}

// tunnel is one connection with TLS. Two goroutines carry its data, one in each direction. Each
// waits while the receiving side does not take more.
//
//	            +---- inward ---> \
//	client <--TLS                  loop
//	            +<--- outward --- /
//
// Both sides can end. A client that has closed its sending side is still answered. When the loop
// closes its end it has sent everything.
type tunnel struct {
	all    *tunnels
	socket *net.TCPConn
	client *tls.Conn // on socket
	loop   *net.UnixConn
}

// run carries data until both directions have ended. An error means that the client was not
// accepted.
func (t *tunnel) run() error {
	defer t.loop.Close()
	defer t.socket.Close()
	ctx, cancel := context.WithTimeout(context.Background(), t.all.handshakeFor)
	err := t.client.HandshakeContext(ctx)
	cancel()
	switch {
	case errors.Is(err, net.ErrClosed):
		return nil // we have cut it off
	case err != nil:
		return err
	}
	inward := make(chan struct{})
	go func() {
		defer close(inward)
		t.inward()
	}()
	t.outward()
	<-inward
	return nil
}

// inward carries data from the client to the loop. When the loop has closed its end, inward
// discards the rest.
func (t *tunnel) inward() {
	b := make([]byte, recordBytes)
	closed := false
	for {
		n, err := t.client.Read(b)
		if n > 0 && !closed {
			_, writeErr := t.loop.Write(b[:n])
			closed = writeErr != nil
		}
		if err != nil {
			_ = t.loop.CloseWrite() // the loop may have gone first
			return
		}
	}
}

// outward carries data from the loop to the client, and ends the connection.
func (t *tunnel) outward() {
	b := make([]byte, recordBytes)
	for {
		n, err := t.loop.Read(b)
		if n > 0 {
			_ = t.socket.SetWriteDeadline(time.Now().Add(t.all.stallFor))
			if _, err := t.client.Write(b[:n]); err != nil {
				t.loop.Close() // the loop sees that nobody is there
				t.socket.Close()
				return
			}
		}
		if err != nil {
			break
		}
	}
	_ = t.client.CloseWrite()
	_ = t.socket.CloseWrite()
	_ = t.socket.SetReadDeadline(time.Now().Add(drainTimeout))
}
