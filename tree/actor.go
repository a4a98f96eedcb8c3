package tree

import (
	"context"
	"time"

	"kivaloo/actors"
	"kivaloo/disk"
)

// Actor runs a Tree on one goroutine, between the mailbox in which requests
// arrive and a store.
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

// Requests is where batches are pushed.
func (a *Actor) Requests() *Requests { return a.requests }

// Now is the tree's clock. Any goroutine may read it.
func (a *Actor) Now() time.Duration { return time.Since(a.start) }

// Run carries out requests until ctx is done, then finishes what has been
// pushed by then and has all of it saved. Whoever stops it has stopped pushing before.
func (a *Actor) Run(ctx context.Context) error {
	defer context.AfterFunc(ctx, a.bell.Ring)()
	idle := func() bool {
		return a.requests.Empty() && a.done.Empty() && ctx.Err() == nil
	}
	late := func() (*disk.Op, time.Duration) {
		if op := a.done.Drain(); op != nil {
			return op, a.Now()
		}
		return nil, 0
	}
	for {
		in := Inputs{Now: a.Now(), Requests: a.requests.Drain(), Done: a.done.Drain(), Late: late}
		busy := in.Requests != nil || in.Done != nil
		if ctx.Err() != nil {
			a.tree.Stop()
		}
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
		if ctx.Err() != nil && !a.tree.Busy() && a.requests.Empty() {
			return nil
		}
		wait := max(0, out.Wake-a.Now())
		if ctx.Err() != nil {
			a.bell.Wait(wait, func() bool { return a.requests.Empty() && a.done.Empty() })
			continue
		}
		a.bell.Wait(wait, idle)
	}
}
