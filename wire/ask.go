package wire

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"
)

var (
	// ErrNotKivaloo means that the peer does not speak the protocol. It is wrapped with a guess at
	// what the peer is.
	ErrNotKivaloo = errors.New("this is not a kivaloo server")
	// ErrHungUp means that the connection was closed instead of an answer.
	ErrHungUp = errors.New("it closed the connection instead of answering: it may speak another protocol or require TLS")
)

// askID is HelloID in its encoded form. Ask uses it for every protocol: a server returns any ID.
var askID = binary.BigEndian.AppendUint64(nil, HelloID)

// Ask makes the first request of a connection and returns the record of the answer, which may have
// up to limit bytes. It reads nothing after the answer. After an error the connection is unusable.
//
// A server that serves one client at a time may let others wait. So Ask waits for as long as ctx
// allows, unless the server's process is stopped.
func Ask(ctx context.Context, nc net.Conn, request []byte, limit uint32) ([]byte, error) {
	waiting, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer time.AfterFunc(askPatience, func() {
		if err := checkRuns(nc); err != nil {
			cancel(err)
		}
	}).Stop()
	unlessAnswered := context.AfterFunc(waiting, func() { nc.SetDeadline(time.Unix(1, 0)) })
	answer, err := ask(nc, request, limit)
	switch {
	case unlessAnswered():
		return answer, err
	case ctx.Err() != nil:
		return nil, fmt.Errorf("no answer: the server is busy with another client or stopped, or it is not a kivaloo server: %w", ctx.Err())
	}
	return nil, context.Cause(waiting)
}

func ask(nc net.Conn, request []byte, limit uint32) ([]byte, error) {
	_, writeErr := nc.Write(AppendPacket(nil, HelloID, request))
	b := make([]byte, 0, Overhead+int(limit))
	for want := int64(HeaderSize); ; {
		n, err := nc.Read(b[len(b):want])
		b = b[:len(b)+n]
		if !bytes.HasPrefix(askID, b[:min(len(b), len(askID))]) {
			return nil, fmt.Errorf("%w: %s", ErrNotKivaloo, recognise(b))
		}
		p, whole, length, cutErr := Cut(b, limit)
		switch {
		case cutErr != nil:
			return nil, cutErr
		case whole > 0:
			return p.Record, nil
		case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.Is(writeErr, syscall.EPIPE):
			return nil, ErrHungUp
		case err != nil:
			return nil, err
		}
		want = max(want, length)
	}
}

// recognise returns which protocol begins with b.
func recognise(b []byte) string {
	for _, known := range []struct{ prefix, is string }{
		{"HTTP/", "it speaks HTTP"},
		{"+PONG", "it speaks Redis's protocol"},
		{"-", "it speaks Redis's protocol"},
		{"\x15\x03", "it speaks TLS; to a kivaloo-mux that does, connect with TLS"},
		{"SSH-", "it speaks SSH"},
	} {
		if bytes.HasPrefix(b, []byte(known.prefix)) {
			return known.is
		}
	}
	return fmt.Sprintf("it sends %q", b)
}
