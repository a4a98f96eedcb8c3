package actors

import "sync/atomic"

// Link is the chain field of a message. A message type embeds Link of itself,
// so a mailbox allocates nothing.
type Link[M any] struct{ next *M }

func (l *Link[M]) link() *Link[M] { return l }

// Next returns the message after this one in a chain, or nil.
func (l *Link[M]) Next() *M { return l.next }

// SetNext chains m behind this message.
func (l *Link[M]) SetNext(m *M) { l.next = m }

// Message is the type of a Mailbox's messages: a pointer to a struct that embeds Link.
type Message[M any] interface {
	*M
	link() *Link[M]
}

// Mailbox is an unbounded queue with many producers and one consumer, kept as
// an intrusive stack: a push is one compare-and-swap for a whole chain, a drain
// is one swap for everything that is there.
//
// Invariants:
//  1. A message is in at most one mailbox.
//  2. Messages of one producer are drained in the order it pushed them.
//  3. A message pushed while the bell is armed rings it.
type Mailbox[M any, P Message[M]] struct {
	head atomic.Pointer[M] // newest first
	bell *Doorbell
}

// NewMailbox returns an empty mailbox whose pushes ring bell.
func NewMailbox[M any, P Message[M]](bell *Doorbell) *Mailbox[M, P] {
	return &Mailbox[M, P]{bell: bell}
}

// Push gives the chain first..last (linked by Next, oldest first) to the
// consumer. It never blocks. The producer must not touch the messages again.
func (b *Mailbox[M, P]) Push(first, last *M) {
	// The stack is newest first, so the chain goes in reversed.
	newest := reverse[M, P](first, last)
	for {
		old := b.head.Load()
		P(first).link().next = old
		if b.head.CompareAndSwap(old, newest) {
			break
		}
	}
	b.bell.Ring()
}

// PushOne gives a single message to the consumer.
func (b *Mailbox[M, P]) PushOne(m *M) { b.Push(m, m) }

// Drain takes everything out, oldest first. It returns nil if the mailbox is empty. Only the
// consumer may call it.
func (b *Mailbox[M, P]) Drain() *M {
	if b.head.Load() == nil {
		return nil
	}
	newest := b.head.Swap(nil)
	if newest == nil {
		return nil
	}
	return reverse[M, P](newest, nil)
}

// Empty reports whether a drain would find nothing now.
func (b *Mailbox[M, P]) Empty() bool { return b.head.Load() == nil }

// reverse reverses the chain from first up to and including last (nil: up to its end), and returns
// its new first message.
func reverse[M any, P Message[M]](first, last *M) *M {
	var prev *M
	for m := first; m != nil; {
		next := P(m).link().next
		P(m).link().next = prev
		prev = m
		if m == last {
			break
		}
		m = next
	}
	return prev
}
