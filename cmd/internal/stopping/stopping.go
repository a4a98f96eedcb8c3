package stopping

import (
	"context"
	"os"
	"os/signal"
	"sync"
	"time"
)

// Together is the time within which two signals count as one request.
const Together = 100 * time.Millisecond

// Requests returns two channels. The first receives the first signal, the second the first one that
// comes more than Together later. stop releases the signals; call it at most once.
func Requests(signals ...os.Signal) (first, second <-chan os.Signal, stop func()) {
	caught := make(chan os.Signal, 2)
	signal.Notify(caught, signals...)
	end := make(chan struct{})
	one, two := make(chan os.Signal, 1), make(chan os.Signal, 1)
	go sort(caught, end, one, two)
	return one, two, func() {
		signal.Stop(caught)
		close(end)
	}
}

// sort passes signals on until both channels have received one, or end is closed.
func sort(caught <-chan os.Signal, end <-chan struct{}, first, second chan<- os.Signal) {
	select {
	case s := <-caught:
		first <- s
	case <-end:
		return
	}
	for together := time.After(Together); ; {
		select {
		case <-together:
			together = nil
		case s := <-caught:
			if together == nil {
				second <- s
				return
			}
		case <-end:
			return
		}
	}
}

// By is the cause of a context that a signal has ended.
type By struct{ Signal os.Signal }

func (b By) Error() string { return "stopped by signal: " + b.Signal.String() }

// Context returns a context that ends with the first signal. Signals more than Together later have
// their default action, which ends the program. stop releases the signals.
func Context(parent context.Context, signals ...os.Signal) (_ context.Context, stop context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(parent)
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, signals...)
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case s := <-caught:
			cancel(By{s})
			select {
			case <-time.After(Together):
			case <-end:
			}
		case <-end:
		}
		signal.Stop(caught)
	}()
	return ctx, sync.OnceFunc(func() {
		close(end)
		<-ended
		cancel(nil)
	})
}
