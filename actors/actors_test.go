package actors

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type message struct {
	Link[message]
	from, number int
}

// chain links messages from a producer, numbered from first on.
func chain(from, first, n int) (head, tail *message) {
	for i := range n {
		m := &message{from: from, number: first + i}
		if head == nil {
			head = m
		} else {
			tail.SetNext(m)
		}
		tail = m
	}
	return head, tail
}

func TestMailboxKeepsOrder(t *testing.T) {
	b := NewMailbox[message](NewDoorbell(func() { t.Error("rung without having been armed") }))
	if !b.Empty() || b.Drain() != nil {
		t.Error("a new mailbox is not empty")
	}
	first, last := chain(0, 0, 3)
	b.Push(first, last)
	b.PushOne(&message{number: 3})
	first, last = chain(0, 4, 2)
	b.Push(first, last)
	n := 0
	for m := b.Drain(); m != nil; m = m.Next() {
		if m.number != n {
			t.Fatalf("message %d comes as number %d", m.number, n)
		}
		n++
	}
	if n != 6 || !b.Empty() {
		t.Errorf("%d messages; empty: %t", n, b.Empty())
	}
}

// TestMailboxRingsBehindThePush checks that a rung consumer finds the pushed message.
func TestMailboxRingsBehindThePush(t *testing.T) {
	var b *Mailbox[message, *message]
	rung := false
	bell := NewDoorbell(func() { rung = !b.Empty() })
	b = NewMailbox[message](bell)
	bell.Arm()
	b.PushOne(&message{})
	if !rung {
		t.Error("not rung, or before the message was there")
	}
}

// TestNothingIsLost has many producers push while the consumer drains, waits and drains again:
// every message arrives once, in its producer's order, and the consumer never sleeps while
// something is there.
func TestNothingIsLost(t *testing.T) {
	const producers, each = 8, 20000
	w := NewWaiter()
	boxes := []*Mailbox[message, *message]{NewMailbox[message](&w.Doorbell), NewMailbox[message](&w.Doorbell)}
	var group sync.WaitGroup
	for p := range producers {
		group.Go(func() {
			for i := 0; i < each; {
				n := min(1+i%7, each-i)
				first, last := chain(p, i, n)
				boxes[p%2].Push(first, last)
				if i += n; i%64 == 0 {
					runtime.Gosched()
				}
			}
		})
	}
	idle := func() bool { return boxes[0].Empty() && boxes[1].Empty() }
	var next [producers]int
	for got := 0; got < producers*each; {
		for _, b := range boxes {
			for m := b.Drain(); m != nil; m = m.Next() {
				if m.number != next[m.from] {
					t.Fatalf("producer %d: message %d, want %d", m.from, m.number, next[m.from])
				}
				next[m.from]++
				got++
			}
		}
		if got < producers*each {
			w.Wait(-1, idle) // hangs if a ring is lost
		}
	}
	group.Wait()
}

func TestDoorbellRingsOncePerArm(t *testing.T) {
	rings := 0
	d := NewDoorbell(func() { rings++ })
	d.Ring()
	d.Arm()
	d.Ring()
	d.Ring()
	d.Arm()
	d.Disarm()
	d.Ring()
	if rings != 1 {
		t.Errorf("%d rings", rings)
	}
}

func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := NewWaiter()
		yes := func() bool { return true }
		start := time.Now()
		w.Wait(time.Second, yes)
		if took := time.Since(start); took != time.Second {
			t.Errorf("a timeout of a second takes %v", took)
		}
		w.Wait(0, yes)
		w.Wait(-1, func() bool { return false }) // there is work
		w.Wait(time.Hour, func() bool { return false })
		if took := time.Since(start); took != time.Second {
			t.Errorf("waits although it should not: %v", took)
		}
		w.Wait(time.Hour, func() bool { // a message comes right after the check
			w.Ring()
			return true
		})
		if took := time.Since(start); took != time.Second {
			t.Errorf("sleeps for %v although it was rung", took)
		}

		time.AfterFunc(time.Second, w.Ring)
		w.Wait(time.Hour, yes)
		if took := time.Since(start); took != 2*time.Second {
			t.Errorf("rung after a second, returns after %v", took-time.Second)
		}
	})
}

func TestGroup(t *testing.T) {
	g := NewGroup()
	var ended atomic.Bool
	g.Go("waits", func(ctx context.Context) error {
		<-ctx.Done()
		ended.Store(true)
		return errors.New("too late to matter")
	})
	broken := errors.New("broken")
	g.Go("fails", func(context.Context) error { return broken })
	if err := g.Wait(); !errors.Is(err, broken) || err.Error() != "fails: broken" {
		t.Errorf("the group says %v", err)
	}
	if !ended.Load() {
		t.Error("Wait has not waited for all")
	}

	g = NewGroup()
	g.Go("waits", func(ctx context.Context) error { <-ctx.Done(); return nil })
	g.Stop()
	if err := g.Wait(); err != nil {
		t.Errorf("stopped: %v", err)
	}

	g = NewGroup()
	g.Go("cannot finish", func(ctx context.Context) error { <-ctx.Done(); return broken })
	g.Stop()
	if err := g.Wait(); !errors.Is(err, broken) {
		t.Errorf("an actor failed after the stop: %v", err)
	}
}

func BenchmarkMailbox(b *testing.B) {
	for _, n := range []int{1, 64} {
		b.Run(map[int]string{1: "one", 64: "64"}[n], func(b *testing.B) {
			box := NewMailbox[message](NewDoorbell(func() {}))
			first, last := chain(0, 0, n)
			b.ReportAllocs()
			for i := 0; i < b.N; i += n {
				box.Push(first, last)
				first = box.Drain()
				for last = first; last.Next() != nil; last = last.Next() {
				}
			}
		})
	}
}
