package tree

import (
	"context"
	"time"

	"kivaloo/actors"
	"kivaloo/disk"
)

// Actor runs a Tree on one goroutine. It connects a mailbox of requests with a store.
type Actor struct {
	tree     *Tree
	store    disk.Store
	bell     *actors.Waiter
	requests *Requests
	done     *disk.Completions
	start    time.Time
}

// NewActor returns an actor for a tree that was opened on store.
func NewActor(t *Tree, store disk.Store) *Actor {
	bell := actors.NewWaiter()
	return &Actor{
		tree:     t,
		store:    store,
		bell:     bell,
		requests: actors.NewMailbox[Batch](&bell.Doorbell),
		done:     disk.NewCompletions(&bell.Doorbell),
		start:    time.Now(),
	}
}

// Requests is the mailbox for requests.
func (a *Actor) Requests() *Requests { return a.requests }

// Now returns the tree's clock. It is safe for concurrent use.
func (a *Actor) Now() time.Duration { return time.Since(a.start) }

// Run carries out requests until ctx is done. Then it finishes those already pushed, and flushes.
// The caller must stop pushing before it cancels ctx. The error says what could not be flushed.
func (a *Actor) Run(ctx context.Context) error {
	defer context.AfterFunc(ctx, a.bell.Ring)()
	for {
		// Read ctx before the mailbox. So the turn that stops has all requests, and the tree knows
		// that it is stopping.
		stopping := ctx.Err() != nil
		if stopping {
			a.tree.Stop()
		}
		in := Inputs{Now: a.Now(), Requests: a.requests.Drain(), Done: a.done.Drain()}
		busy := in.Requests != nil || in.Done != nil
		out := a.tree.Step(in)
		if m := a.tree.metrics; m != nil && busy {
			m.Step.Add(a.Now() - in.Now)
		}
		if out.First != nil {
			for op := out.First; op != nil; op = op.Link.Next() {
				op.Done = a.done
			}
			a.store.Submit(out.First, out.Last)
		}
		if stopping && !a.tree.Busy() {
			return a.tree.Unflushed()
		}
		a.bell.Wait(max(0, out.Wake-a.Now()), func() bool {
			return a.requests.Empty() && a.done.Empty() && (stopping || ctx.Err() == nil)
		})
	}
}
