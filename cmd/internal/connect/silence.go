package connect

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"kivaloo"
)

// unblock is how long work may take to end after its context has ended.
const unblock = time.Second

// Run runs work with a context that ends when the server of c has not answered for as long as the
// flags allow. Requests may take any time: a working server answers the request for its limits at
// once. Work that then waits for something else, such as input, is abandoned, because the program
// is about to exit.
func (o *Options) Run(ctx context.Context, c *kivaloo.Client, work func(ctx context.Context) error) error {
	watched, stop, err := o.Watch(ctx, c)
	if err != nil {
		return err
	}
	defer stop()
	worked := make(chan error, 1)
	go func() { worked <- work(watched) }()
	select {
	case err := <-worked:
		return err
	case <-watched.Done():
	}
	if ctx.Err() != nil {
		return <-worked
	}
	select {
	case err := <-worked:
		return err
	case <-time.After(unblock):
		return watched.Err()
	}
}

// Watch returns a context that ends when the server of c has not answered for as long as the flags
// allow. Its error says so, and is an os.ErrDeadlineExceeded. Watch continues until stop is called.
func (o *Options) Watch(ctx context.Context, c *kivaloo.Client) (watched context.Context, stop func(), err error) {
	timeout, err := o.Timeout()
	if err != nil {
		return nil, nil, err
	}
	inner, cancel := context.WithCancelCause(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := o.untilSilent(inner, c, timeout); err != nil {
			cancel(err)
		}
	}()
	return withSilence{inner}, func() {
		cancel(context.Canceled)
		<-ended
	}, nil
}

// untilSilent asks the server for its limits again and again. It returns an error if an answer is
// late, and nil when ctx ends. An answer is also late if a lost connection is not replaced in time,
// unless o is Patient.
func (o *Options) untilSilent(ctx context.Context, c *kivaloo.Client, timeout time.Duration) error {
	pause := timeout / 4
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		within, cancel := context.WithTimeout(ctx, timeout-pause)
		_, err := c.Params(within)
		cancel()
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil && (c.Stats().Connected || !o.Patient) {
			return silence(timeout)
		}
	}
}

// silence is the error for a server that has not answered for this long.
type silence time.Duration

func (s silence) Error() string {
	return fmt.Sprintf("no answer within %v: the server is stopped, stuck or cannot be reached any more", time.Duration(s))
}

// Is reports that silence is a timeout.
func (silence) Is(target error) bool { return target == os.ErrDeadlineExceeded }

// withSilence is a context whose error distinguishes silence from other reasons for its end.
type withSilence struct{ context.Context }

func (c withSilence) Err() error {
	if s := silence(0); errors.As(context.Cause(c.Context), &s) {
		return s
	}
	return c.Context.Err()
}
