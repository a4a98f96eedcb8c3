package actors

import (
	"context"
	"fmt"
	"runtime/pprof"
	"sync"
)

// Group runs actors that live and die together. The first error of an actor stops the group. Wait
// returns that error after all have ended. A panic in an actor is not caught, so it stops the whole
// process.
type Group struct {
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	failed sync.Once
	err    error // the first of any actor; set in failed
}

// NewGroup returns an empty group.
func NewGroup() *Group {
	g := &Group{}
	g.ctx, g.cancel = context.WithCancel(context.Background())
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
				g.failed.Do(func() { g.err = fmt.Errorf("%s: %w", name, err) })
				g.cancel()
			}
		})
	}()
}

// Context is done once the group has been stopped or an actor has failed.
func (g *Group) Context() context.Context { return g.ctx }

// Stop asks every actor to end.
func (g *Group) Stop() { g.cancel() }

// Wait returns when every actor has ended, with the first error of any, including errors after
// Stop.
func (g *Group) Wait() error {
	g.wg.Wait()
	g.cancel()
	return g.err
}
