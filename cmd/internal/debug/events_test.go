package debug

import (
	"encoding/json"
	"runtime"
	"testing"
	"time"

	"kivaloo/disk"
	"kivaloo/internal/must"
	"kivaloo/tree"
)

// events gets events.json.
func (l *looked) events(query string) (list EventList) {
	l.t.Helper()
	must.Do(l.t, json.Unmarshal([]byte(l.want("/events.json"+query, 200)), &list))
	return list
}

func TestEvents(t *testing.T) {
	l := look(t)
	if list := l.events(""); len(list.Events) != 0 || list.Next != 0 || time.Since(list.Now) > time.Minute {
		t.Errorf("at first: %+v", list)
	}
	l.OnSync()(time.Millisecond)
	l.OnSync()(200 * time.Millisecond)
	l.inside.events.Begin(tree.EventCleaning)
	list := l.events("")
	if len(list.Events) != 2 || list.Next != 1 || list.Missed != 0 {
		t.Fatalf("%+v", list)
	}
	stall, cleaning := list.Events[0], list.Events[1]
	if stall.Kind != disk.EventStall || stall.Seconds != 0.2 || stall.Ongoing || list.Now.Sub(stall.Began) < 200*time.Millisecond {
		t.Errorf("the stall: %+v", stall)
	}
	if cleaning.Kind != tree.EventCleaning || !cleaning.Ongoing {
		t.Errorf("the cleaning: %+v", cleaning)
	}
	if list := l.events("?since=1"); len(list.Events) != 1 || !list.Events[0].Ongoing {
		t.Errorf("since 1: %+v", list)
	}
	if list := l.events("?since=99"); len(list.Events) != 2 || list.Missed != 0 {
		t.Errorf("since a number of before a restart: %+v", list)
	}
	for range 1500 {
		l.OnSync()(time.Second)
	}
	if list := l.events("?since=1"); list.Next != 1501 || list.Missed != 1501-1-1024 {
		t.Errorf("of %d, %d have been missed", list.Next, list.Missed)
	}
	l.want("/events.json?since=-1", 400, "not a number")
	for len(l.sampler.report().Events) != recentEvents {
		time.Sleep(10 * time.Millisecond)
	}
	if last := l.sampler.report().Events[recentEvents-1]; last.Kind != tree.EventCleaning {
		t.Errorf("people see %+v last", last)
	}
}

// TestEventsOfATree checks the events of a tree.
func TestEventsOfATree(t *testing.T) {
	l := look(t)
	s := l.serve()
	taken := make(chan *tree.Snapshot, 1)
	call := func(do func(*tree.Tree)) {
		q := &question{}
		q.Batch.Client, q.Call = q, do
		s.actor.Requests().PushOne(&q.Batch)
	}
	call(func(t *tree.Tree) { t.TakeSnapshot("test", func(s *tree.Snapshot, _ error) { taken <- s }) })
	snapshot := <-taken
	call(func(t *tree.Tree) { t.Release(snapshot); taken <- nil })
	<-taken
	if list := l.events(""); len(list.Events) == 0 || list.Events[0].Kind != tree.EventSnapshot {
		t.Errorf("%+v", list)
	}
}

// TestContentionIsSampled checks that contention is sampled only while a profile of a time span is
// made.
func TestContentionIsSampled(t *testing.T) {
	fraction := func() int { return runtime.SetMutexProfileFraction(-1) }
	if n := fraction(); n != 0 {
		t.Fatalf("sampled before: %d", n)
	}
	l := look(t)
	type answer struct {
		status int
		body   string
	}
	answers := make(chan answer, 3)
	for _, path := range []string{"mutex?seconds=1", "mutex?seconds=1", "block?seconds=1"} {
		go func() {
			status, body := l.get("/debug/pprof/" + path)
			answers <- answer{status, body}
		}()
	}
	for fraction() != mutexFraction {
		time.Sleep(time.Millisecond)
	}
	for range cap(answers) {
		if a := <-answers; a.status != 200 || a.body[:2] != "\x1f\x8b" {
			t.Errorf("status %d, %.50q", a.status, a.body)
		}
	}
	for fraction() != 0 { // the answer arrives a little before the handler ends
		time.Sleep(time.Millisecond)
	}
	l.want("/debug/pprof/mutex", 200)
	if n := fraction(); n != 0 {
		t.Errorf("sampled for a profile of all times: %d", n)
	}
}
