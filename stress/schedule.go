package stress

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// schedule says when the operations of an open loop should start, whatever the server does. Times
// are since the beginning of the run.
type schedule struct {
	interval float64 // mean, in nanoseconds
	random   *rand.Rand
	n        int64
	at       float64
}

// newSchedule returns a schedule with a rate per second. With random the arrivals are a Poisson
// process, with nil they are evenly spaced.
func newSchedule(rate float64, random *rand.Rand) *schedule {
	return &schedule{interval: float64(time.Second) / rate, random: random}
}

func (s *schedule) next() time.Duration {
	if s.random != nil {
		s.at += s.random.ExpFloat64() * s.interval
	} else {
		s.at = float64(s.n) * s.interval // not a sum, which would drift
		s.n++
	}
	return time.Duration(s.at)
}

// pauser is a waiter, or the clock of a test.
type pauser interface {
	wait(d time.Duration) error
	close()
}

// waiter waits for short times. time.Sleep rounds up to a whole millisecond when nothing else goes
// on, because the runtime waits in epoll_wait. A kernel timer polled there is exact, and needs no
// thread of its own.
type waiter struct {
	timer *os.File
	conn  syscall.RawConn // of timer
}

func newWaiter() (*waiter, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make a timer: %w", err)
	}
	timer := os.NewFile(uintptr(fd), "timerfd")
	conn, err := timer.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("use a timer: %w", err)
	}
	return &waiter{timer, conn}, nil
}

// wait returns after d, which must be more than 0, or with an error once the waiter is closed.
func (w *waiter) wait(d time.Duration) error {
	var set error
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(d))}
	if err := w.conn.Control(func(fd uintptr) { set = unix.TimerfdSettime(int(fd), 0, &spec, nil) }); err != nil {
		return err
	}
	if set != nil {
		return set
	}
	var expirations [8]byte
	_, err := w.timer.Read(expirations[:])
	return err
}

// close may be called at any time, and more than once.
func (w *waiter) close() { w.timer.Close() }

// dispatch hands the operations of the schedule to the workers, each when it is due, or afterwards
// as soon as a worker is idle, until ctx ends or there have been enough. It returns how many were
// due in the measured time, and how many of these were not handed over.
//
// The requested time ends when the next operation would be due, if it is not over before. dispatch
// waits for that, because the rate is that of the schedule: three operations at 0, 1 and 2 s are
// one per second, not three in 2 s.
func (r *run) dispatch(ctx context.Context, s *schedule, w pauser) (due, overdue int64, err error) {
	defer close(r.due)
	defer context.AfterFunc(ctx, w.close)() // ends a wait
	for {
		at := s.next()
		last := at >= r.end || r.plan.Count > 0 && uint64(due) == r.plan.Count
		if at >= r.plan.Warmup && !last {
			due++
		}
		if ctx.Err() == nil {
			if early := min(at, r.end) - r.now(); early > 0 {
				if err := w.wait(max(early, minPause)); err != nil && ctx.Err() == nil {
					return due, overdue, fmt.Errorf("wait for the schedule: %w", err)
				}
			}
		}
		if last {
			return due, overdue, nil
		}
		select {
		case r.due <- at:
		case <-ctx.Done():
			if r.interrupted() {
				return due, overdue, nil
			}
			if at >= r.plan.Warmup {
				overdue++
			}
		}
	}
}
