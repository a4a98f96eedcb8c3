package actors

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// kinds formats events as a line.
func kinds(list []Event) (line string) {
	for _, v := range list {
		if line += fmt.Sprint(v.Kind, " ", v.Took); v.Ongoing {
			line += "..."
		}
		line += ";"
	}
	return line
}

func TestEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &Events{}
		start := time.Now()
		want := func(since, next uint64, line string) {
			t.Helper()
			list, n := e.Since(since)
			if got := kinds(list); got != line || n != next {
				t.Errorf("since %d: %q, next %d; want %q, %d", since, got, n, line, next)
			}
		}
		want(0, 0, "")
		e.End("cleaning") // it has not begun
		e.Begin("cleaning")
		time.Sleep(time.Second)
		e.Begin("cleaning") // it is ongoing
		e.Mark("stall", 300*time.Millisecond)
		time.Sleep(time.Second)
		e.Begin("flush")
		want(0, 1, "stall 300ms;cleaning 2s...;flush 0s...;")
		want(1, 1, "cleaning 2s...;flush 0s...;")
		e.End("cleaning")
		e.End("cleaning")
		want(1, 2, "cleaning 2s;flush 0s...;")
		want(7, 2, "stall 300ms;cleaning 2s;flush 0s...;") // from before a restart
		list, _ := e.Since(0)
		if at := list[0].Began.Sub(start); at != 700*time.Millisecond {
			t.Errorf("the stall began after %v", at)
		}
		if at := list[1].Began.Sub(start); at != 0 {
			t.Errorf("the cleaning began after %v", at)
		}
	})
}

// TestEventsAreBounded checks that events that are too old are gone, and that this can be noticed.
func TestEventsAreBounded(t *testing.T) {
	e := &Events{}
	for i := range eventsKept + 10 {
		e.Mark("stall", time.Duration(i))
	}
	list, next := e.Since(5)
	if len(list) != eventsKept || next != eventsKept+10 || list[0].Took != 10 || list[eventsKept-1].Took != eventsKept+9 {
		t.Errorf("%d events, next %d, from %v to %v", len(list), next, list[0].Took, list[len(list)-1].Took)
	}
	if list, _ := e.Since(next - 3); len(list) != 3 || list[0].Took != eventsKept+7 {
		t.Errorf("the last three: %v", list)
	}
}

func TestNoEvents(t *testing.T) {
	var e *Events
	e.Begin("cleaning")
	e.End("cleaning")
	e.Mark("stall", time.Second)
}
