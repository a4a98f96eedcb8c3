package kivaloo_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"kivaloo"
	"kivaloo/internal/must"
	"kivaloo/wire"
	"kivaloo/wire/wiretest"
)

func TestPipeline(t *testing.T) {
	s := &wiretest.Server{}
	c := dialFake(t, s)
	p := c.Pipeline(within(t))
	if err := p.Wait(); err != nil {
		t.Errorf("empty: %v", err)
	}
	const n = 3 * kivaloo.MaxOutstanding
	for i := range n {
		must.Do(t, p.Set(fmt.Append(nil, i), fmt.Append(nil, -i)))
	}
	must.Do(t, p.Wait())
	for i := 0; i < n; i += 2 {
		p.Delete(fmt.Append(nil, i))
	}
	found := 0
	for i := range n {
		p.Get(fmt.Append(nil, i), func(value []byte, ok bool) {
			if ok != (i%2 == 1) || ok && string(value) != fmt.Sprint(-i) {
				t.Errorf("%d: got %q, %v", i, value, ok)
			}
			if ok {
				found++
			}
		})
	}
	if err := p.Wait(); err != nil || found != n/2 {
		t.Errorf("found %d, %v", found, err)
	}
}

// TestPipelineOperations issues every operation in one pipeline. Those on one key take effect in
// order.
func TestPipelineOperations(t *testing.T) {
	c := dialFake(t, &wiretest.Server{})
	p := c.Pipeline(within(t))
	k := []byte("k")
	var told []string
	tell := func(what string) func(bool) {
		return func(made bool) { told = append(told, fmt.Sprint(what, " ", made)) }
	}
	get := func(value []byte, found bool) { told = append(told, fmt.Sprintf("get %s %v", value, found)) }
	p.Modify(k, []byte("0"), tell("modify"))
	p.Add(k, []byte("1"), tell("add"))
	p.Add(k, []byte("2"), tell("add"))
	p.Get(k, get)
	p.Modify(k, []byte("3"), tell("modify"))
	p.CompareAndSwap(k, []byte("1"), []byte("4"), tell("cas"))
	p.CompareAndSwap(k, []byte("3"), []byte("5"), tell("cas"))
	p.Get(k, get)
	p.CompareAndDelete(k, []byte("3"), tell("cad"))
	p.CompareAndDelete(k, []byte("5"), tell("cad"))
	p.Get(k, get)
	p.Set(k, []byte("6"))
	p.Get(k, get)
	p.Delete(k)
	p.Get(k, get)
	// The callback may be nil.
	p.Add(k, nil, nil)
	p.Modify(k, nil, nil)
	p.CompareAndSwap(k, nil, nil, nil)
	p.Get(k, nil)
	p.CompareAndDelete(k, nil, nil)
	must.Do(t, p.Wait())
	want := []string{
		"modify false", "add true", "add false", "get 1 true", "modify true", "cas false", "cas true", "get 5 true",
		"cad false", "cad true", "get  false", "get 6 true", "get  false",
	}
	if !slices.Equal(told, want) {
		t.Errorf("got  %q\nwant %q", told, want)
	}
}

// TestPipelineFirstError checks that nothing more is issued after the first failure, and that Wait
// waits for the rest.
func TestPipelineFirstError(t *testing.T) {
	var seen atomic.Int32
	s := &wiretest.Server{Hook: func(id uint64, r wire.KVRequest) ([]byte, wiretest.Verdict) {
		seen.Add(1)
		if string(r.Key) == "3" {
			return wire.AppendPacket(nil, id, wire.AppendKVStatus(nil, 7)), wiretest.WithThis
		}
		return nil, wiretest.Normally
	}}
	c := dialFake(t, s)
	p := c.Pipeline(within(t))
	p.Set([]byte("3"), nil)
	issued, first := int32(1), error(nil)
	for first = p.Set([]byte("4"), nil); first == nil; first = p.Set([]byte("4"), nil) {
		issued++
	}
	if err := p.Wait(); !errors.Is(err, wire.ErrBadRecord) || err != first {
		t.Errorf("got %v, before that %v", err, first)
	}
	called := false
	p.Get([]byte("5"), func([]byte, bool) { called = true })
	if p.Wait() != first || called {
		t.Errorf("called %v; %v", called, p.Wait())
	}
	// The connection is still usable.
	if err := c.Delete(within(t), []byte("k")); err != nil {
		t.Error(err)
	}
	if got := seen.Load(); got != issued+1 {
		t.Errorf("the server saw %d requests, want %d", got, issued+1)
	}
}

func TestPipelineConnectionLost(t *testing.T) {
	const answered = 1000
	n := 0
	s := &wiretest.Server{Hook: func(uint64, wire.KVRequest) ([]byte, wiretest.Verdict) {
		if n++; n > answered {
			return nil, wiretest.HangUp
		}
		return nil, wiretest.Normally
	}}
	c := dialFake(t, s)
	p := c.Pipeline(within(t))
	absent, issued := 0, 0
	for p.Get([]byte("k"), func([]byte, bool) { absent++ }) == nil {
		issued++
	}
	err := p.Wait()
	var op *kivaloo.OpError
	if !errors.As(err, &op) || op.Op != "get" {
		t.Errorf("got %v", err)
	}
	if absent != answered || issued < answered {
		t.Errorf("%d of %d were answered, want %d", absent, issued, answered)
	}
}

// TestPipelineCancel checks that a pipeline does not wait after its context has ended, and that
// late answers are ignored.
func TestPipelineCancel(t *testing.T) {
	release := make(chan struct{})
	s := &wiretest.Server{Hook: func(uint64, wire.KVRequest) ([]byte, wiretest.Verdict) {
		<-release
		return nil, wiretest.Normally
	}}
	c := dialFake(t, s)
	ctx, cancel := context.WithCancel(within(t))
	p := c.Pipeline(ctx)
	called := false
	for range 10 {
		p.Get([]byte("k"), func([]byte, bool) { called = true })
	}
	cancel()
	err := p.Wait()
	var op *kivaloo.OpError
	if !errors.Is(err, context.Canceled) || !errors.As(err, &op) || !op.Sent {
		t.Errorf("got %v", err)
	}
	close(release)
	if _, err := c.Params(within(t)); err != nil || called {
		t.Errorf("afterwards: called %v, %v", called, err)
	}
}
