package s3

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"
)

// retrier repeats requests that failed for a reason that may pass.
type retrier struct {
	bucket
	log *slog.Logger
}

// unexpected reports whether err is anything but an answer.
func unexpected(err error) bool {
	return err != nil && !errors.Is(err, errNotFound) && !errors.Is(err, errCondition)
}

// do calls f until it has an answer, ctx ends, or, unless stubborn, the error is fatal. The pauses
// grow and are random, so that many clients do not ask again at the same moment. size is how much
// content there is to send or receive.
func (r *retrier) do(ctx context.Context, what string, size int, stubborn bool, f func(ctx context.Context) error) error {
	pause, began := firstPause, time.Now()
	complained := began
	for try := 1; ; try++ {
		limit := attemptTime + time.Duration(size)*time.Second/bytesPerSecond
		attempt, cancel := context.WithTimeout(ctx, limit)
		if try > 1 {
			attempt = asRetry(attempt)
		}
		err := f(attempt)
		cancel()
		switch {
		case !unexpected(err), isFatal(err) && !stubborn:
			if complained != began {
				r.log.Info("S3 answers again", "request", what, "tries", try, "after", time.Since(began).Round(time.Millisecond))
			}
			return err
		case ctx.Err() != nil:
			return fmt.Errorf("%s: %w after %d tries; the last one: %w", what, context.Cause(ctx), try, err)
		}
		if time.Since(complained) > complainAfter {
			complained = time.Now()
			r.log.Warn("S3 does not answer; trying again", "request", what, "tries", try,
				"since", time.Since(began).Round(time.Millisecond), "err", err)
		}
		select {
		case <-time.After(rand.N(pause) + time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("%s: %w after %d tries; the last one: %w", what, context.Cause(ctx), try, err)
		}
		pause = min(2*pause, lastPause)
	}
}

// length returns the length of an object.
func (r *retrier) length(ctx context.Context, key string) (o object, err error) {
	err = r.do(ctx, "HEAD "+key, 0, false, func(ctx context.Context) (err error) {
		o, err = r.head(ctx, key)
		return err
	})
	return o, err
}

// fetch returns the content of an object from offset on, at most length bytes, 0 for all.
func (r *retrier) fetch(ctx context.Context, key string, offset, length int64) (content []byte, o object, err error) {
	err = r.do(ctx, "GET "+key, int(length), false, func(ctx context.Context) (err error) {
		content, o, err = r.get(ctx, key, offset, length)
		return err
	})
	return content, o, err
}

// create puts an object where there must be none. It returns nil if this put has succeeded, no
// matter at which try, or errCondition with who put the one that is there.
func (r *retrier) create(ctx context.Context, key string, content []byte, by putter, stubborn bool) (other object, err error) {
	err = r.do(ctx, "PUT "+key, len(content), stubborn, func(ctx context.Context) error {
		_, err := r.put(ctx, key, content, condition{absent: true}, by)
		if !errors.Is(err, errCondition) {
			return err
		}
		if other, err = r.head(ctx, key); err != nil {
			return maybe(err) // deleted meanwhile, perhaps
		}
		if other.by.id == by.id {
			return nil // an earlier try that had seemed to fail
		}
		return errCondition
	})
	return other, err
}

// maybe returns err as one after which the request is tried again.
func maybe(err error) error {
	if unexpected(err) {
		return err
	}
	return errors.New("the object that was in the way has gone")
}
