package stopping

import (
	"context"
	"errors"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestTwoTogether checks that two signals together are one request, and that a later one is the
// second request.
func TestTwoTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		caught, end := make(chan os.Signal, 2), make(chan struct{})
		first, second := make(chan os.Signal, 1), make(chan os.Signal, 1)
		go sort(caught, end, first, second)
		caught <- syscall.SIGTERM
		time.Sleep(Together - time.Millisecond)
		caught <- syscall.SIGTERM
		time.Sleep(time.Hour)
		if len(first) != 1 || len(second) != 0 {
			t.Errorf("two signals within 100 ms: %d, %d requests", len(first), len(second))
		}
		caught <- os.Interrupt
		synctest.Wait()
		if len(second) != 1 || <-second != os.Interrupt {
			t.Error("a later signal is no second request")
		}
	})
}

func TestRequests(t *testing.T) {
	first, _, stop := Requests(syscall.SIGUSR1)
	if err := syscall.Kill(os.Getpid(), syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	if s := <-first; s != syscall.SIGUSR1 {
		t.Errorf("got %v", s)
	}
	stop()
}

// TestContext checks that a context ends with the first signal, and that another one together with
// it does nothing.
func TestContext(t *testing.T) {
	ctx, stop := Context(t.Context(), syscall.SIGUSR1)
	defer stop()
	for range 2 { // the second is lost, or harmless
		if err := syscall.Kill(os.Getpid(), syscall.SIGUSR1); err != nil {
			t.Fatal(err)
		}
	}
	<-ctx.Done()
	if by := (By{}); !errors.As(context.Cause(ctx), &by) || by.Signal != syscall.SIGUSR1 {
		t.Errorf("cause: %v", context.Cause(ctx))
	}
}
