package connect

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"kivaloo"
	"kivaloo/wire"
)

func TestExplain(t *testing.T) {
	for _, tc := range []struct {
		err  error
		want string
	}{
		{context.DeadlineExceeded, "no answer from ADDR within 5s: the server is stopped or busy with another client"},
		{kivaloo.ErrNotKivaloo, "ADDR: detail: this is not a kivaloo server; give the right address with --addr"},
		{syscall.EACCES, "cannot connect to ADDR: permission denied; run this as the user"},
		{&wire.DialError{Addr: wire.Addr{Name: "d", Address: "d/s"}, Err: syscall.ECONNREFUSED}, "cannot connect to d/s (d): connection refused: is `kivaloo serve` running?"},
		{syscall.ECONNRESET, "cannot connect to ADDR: detail: connection reset by peer"},
		{errors.New("anything else"), "cannot connect to ADDR: detail: anything else"},
	} {
		var o Options
		err := o.explain(t.Context(), "ADDR", 5*time.Second, nil, &kivaloo.OpError{Op: "dial", Addr: "ADDR", Err: fmt.Errorf("detail: %w", tc.err)})
		if !strings.HasPrefix(err.Error(), tc.want) {
			t.Errorf("%v: got %q", tc.err, err)
		}
	}
}
