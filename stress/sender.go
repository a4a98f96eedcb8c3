package stress

import (
	"errors"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// sender writes to a connection without waiting for the peer. A goroutine writes what the socket
// does not take at once. It ends when it has caught up.
type sender struct {
	nc  net.Conn
	raw syscall.RawConn // nil: nc is not a socket

	ended sync.WaitGroup

	mu      sync.Mutex
	writing bool   // the goroutine is running
	waiting []byte // what it must write next
	err     error  // why it ended
}

func newSender(nc net.Conn) *sender {
	s := &sender{nc: nc}
	if sc, ok := nc.(syscall.Conn); ok {
		s.raw, _ = sc.SyscallConn()
	}
	return s
}

// send writes b, or soon a copy of it. The error may come from an earlier call.
func (s *sender) send(b []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	if !s.writing {
		n, err := s.writeNow(b)
		if err != nil || n == len(b) {
			return err
		}
		b = b[n:]
		s.writing = true
		s.ended.Go(s.write)
	}
	s.waiting = append(s.waiting, b...)
	return nil
}

// writeNow writes as much of b as the socket takes at once.
func (s *sender) writeNow(b []byte) (n int, err error) {
	if s.raw == nil {
		return 0, nil
	}
	rawErr := s.raw.Write(func(fd uintptr) bool {
		n, err = syscall.Write(int(fd), b)
		return true
	})
	if errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EINTR) {
		err = nil
	}
	return max(n, 0), errors.Join(rawErr, err)
}

// write runs on the goroutine.
func (s *sender) write() {
	var b []byte
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.waiting) > 0 && s.err == nil {
		b, s.waiting = s.waiting, b[:0]
		s.mu.Unlock()
		_, err := s.nc.Write(b)
		s.mu.Lock()
		s.err = err
	}
	s.writing = false
}

// end waits for the goroutine, which no longer waits for the peer. It returns the goroutine's
// error.
func (s *sender) end() error {
	s.mu.Lock()
	if s.writing {
		s.nc.SetDeadline(time.Unix(1, 0))
	}
	s.mu.Unlock()
	s.ended.Wait()
	if errors.Is(s.err, os.ErrDeadlineExceeded) {
		return nil // end made it stop
	}
	return s.err
}
