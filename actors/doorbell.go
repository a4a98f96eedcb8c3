package actors

import (
	"sync/atomic"
	"time"
)

// Doorbell wakes one consumer for any number of mailboxes.
//
// The consumer arms the bell, checks its mailboxes once more, and only then waits. A producer
// pushes first and rings second. So either the producer sees the armed bell, or the consumer sees
// the message, and no message remains while the consumer sleeps. A busy consumer is never rung.
type Doorbell struct {
	armed atomic.Bool
	ring  func()
}

// NewDoorbell returns a bell that calls ring, on the producer's goroutine, the
// first time it is rung after each Arm.
func NewDoorbell(ring func()) *Doorbell { return &Doorbell{ring: ring} }

// Ring wakes the consumer if it is waiting.
func (d *Doorbell) Ring() {
	if d.armed.Load() && d.armed.CompareAndSwap(true, false) {
		d.ring()
	}
}

// Arm asks for the next Ring to be delivered. The consumer must look at its
// mailboxes once more after arming.
func (d *Doorbell) Arm() { d.armed.Store(true) }

// Disarm undoes Arm: the consumer found work after all.
func (d *Doorbell) Disarm() { d.armed.Store(false) }

// Waiter is a doorbell for a consumer that is a plain goroutine.
type Waiter struct {
	Doorbell
	rung  chan struct{}
	timer *time.Timer
}

// NewWaiter returns a bell to wait on.
func NewWaiter() *Waiter {
	w := &Waiter{rung: make(chan struct{}, 1)}
	w.ring = func() {
		select {
		case w.rung <- struct{}{}:
		default: // a ring is already waiting
		}
	}
	return w
}

// Wait blocks until the bell rings or timeout has passed. A negative timeout means none. After
// arming the bell, Wait calls idle to check that there is really nothing to do. It may return
// without a reason: the caller checks its mailboxes.
func (w *Waiter) Wait(timeout time.Duration, idle func() bool) {
	w.Arm()
	defer w.Disarm()
	if timeout == 0 || !idle() {
		return
	}
	if timeout < 0 {
		<-w.rung
		return
	}
	if w.timer == nil {
		w.timer = time.NewTimer(timeout)
	} else {
		w.timer.Reset(timeout)
	}
	select {
	case <-w.rung:
		w.timer.Stop()
	case <-w.timer.C:
	}
}
