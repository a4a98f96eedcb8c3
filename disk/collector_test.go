package disk_test

import (
	"time"

	"kivaloo/actors"
	"kivaloo/disk"
)

// collector submits operations and receives them back.
type collector struct {
	bell *actors.Waiter
	done *disk.Completions
	back []*disk.Op // in the order in which they came
}

func newCollector() *collector {
	c := &collector{bell: actors.NewWaiter()}
	c.done = disk.NewCompletions(&c.bell.Doorbell)
	return c
}

// submit submits ops as one chain.
func (c *collector) submit(s disk.Store, ops ...*disk.Op) {
	for i, op := range ops {
		op.Done = c.done
		if i > 0 {
			ops[i-1].SetNext(op)
		}
	}
	s.Submit(ops[0], ops[len(ops)-1])
}

// poll receives the operations that have come back.
func (c *collector) poll() {
	for op := c.done.Drain(); op != nil; {
		next := op.Link.Next()
		c.back = append(c.back, op)
		op = next
	}
}

// wait returns the first n operations that come back, and forgets them.
func (c *collector) wait(n int) []*disk.Op {
	for deadline := time.Now().Add(20 * time.Second); len(c.back) < n; c.poll() {
		if time.Now().After(deadline) {
			panic("operations do not come back")
		}
		c.bell.Wait(100*time.Millisecond, c.done.Empty)
	}
	first := c.back[:n]
	c.back = c.back[n:]
	return first
}

// markingBell returns an armed bell that puts a mark in a trace when it is rung.
func markingBell(tr *tracer, mark string) *actors.Doorbell {
	bell := actors.NewDoorbell(func() { tr.lines = append(tr.lines, mark) })
	bell.Arm()
	return bell
}
