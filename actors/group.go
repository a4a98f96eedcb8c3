package actors

import (
	"context"
	"errors"
	"fmt"
	"runtime/pprof"
	"sync"
)

// Group runs actors that live and die together. The first actor to return an
// error stops the group; Wait returns that error after all have ended. A panic
// in an actor is not caught: it stops the process, never half of it.
type Group struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup
}

var errStopped = errors.New("stopped")

// NewGroup returns an empty group.
func NewGroup() *Group {
	g := &Group{}
	g.ctx, g.cancel = context.WithCancelCause(context.Background())
	return g
}

// Go starts an actor. run must return soon after ctx is done. The name labels
// the goroutine in profiles and its error.
func (g *Group) Go(name string, run func(ctx context.Context) error) {
	g.wg.Add(1)
	go func() {
		defer g.wg.Done()
		pprof.Do(g.ctx, pprof.Labels("actor", name), func(ctx context.Context) {
			if err := run(ctx); err != nil {
				g.cancel(fmt.Errorf("%s: %w", name, err))
			}
		})
	}()
}

// Context is done once the group has been stopped or an actor has failed.
func (g *Group) Context() context.Context { return g.ctx }

// Stop asks every actor to end.
func (g *Group) Stop() { g.cancel(errStopped) }

// Wait returns when every actor has ended, with the first error of any.
func (g *Group) Wait() error {
	g.wg.Wait()
	g.cancel(errStopped)
	if err := context.Cause(g.ctx); !errors.Is(err, errStopped) {
		return err
	}
	return nil
}
