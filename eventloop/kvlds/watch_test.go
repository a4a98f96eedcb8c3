package kvlds_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"kivaloo/eventloop/kvlds"
	"kivaloo/internal/must"
	"kivaloo/wire"
	"kivaloo/wire/wiretest"
)

func watching(position uint64, wait time.Duration, max uint32, start, end string) wire.KVRequest {
	return wire.KVRequest{
		Type: wire.TypeWatch, Position: position, Wait: uint32(wait.Milliseconds()), Max: max, Key: []byte(start), End: []byte(end),
	}
}

func unwatching(id uint64) wire.KVRequest { return wire.KVRequest{Type: wire.TypeUnwatch, Watch: id} }

// watched parses the answer to a WATCH, and returns the position and the changes as text.
func watched(t testing.TB, record []byte) (position uint64, changes string) {
	t.Helper()
	a, err := wire.ParseWatched(record, 1<<20)
	must.Do(t, err)
	var all []string
	for rest := a.Changes.Data; len(rest) > 0; {
		var c wire.Change
		c, rest, err = wire.CutChange(rest)
		must.Do(t, err)
		if c.Delete {
			all = append(all, fmt.Sprintf("-%s", c.Key))
		} else {
			all = append(all, fmt.Sprintf("%s=%s", c.Key, c.Value))
		}
	}
	return a.Position, strings.Join(all, " ")
}

// now returns the current position of a store.
func now(c *wiretest.Peer) uint64 {
	c.T.Helper()
	position, changes := watched(c.T, ask(c, watching(0, 0, 100, "", "")))
	if changes != "" {
		c.T.Fatalf("changes from now on: %s", changes)
	}
	return position
}

// long is far longer than a test takes.
const long = 10 * time.Minute

func TestWatch(t *testing.T) {
	s := serve(t, &slowStore{})
	c, writer := s.dial(), s.dial()
	position := now(c)
	if got := ask(writer, applying(setting("a", "1"), setting("m", "2"), setting("z", "3"))); !bytes.Equal(got, done) {
		t.Fatalf("%q", got)
	}
	if got := ask(writer, applying(deleting("m"), setting("n", "4"))); !bytes.Equal(got, done) {
		t.Fatalf("%q", got)
	}
	after, changes := watched(t, ask(c, watching(position, long, 1000, "", "")))
	if changes != "a=1 m=2 z=3 -m n=4" {
		t.Errorf("all: %s", changes)
	}
	if _, changes := watched(t, ask(c, watching(position, 0, 1000, "b", "n"))); changes != "m=2 -m" {
		t.Errorf("some: %s", changes)
	}
	// A commit that does not fit goes into the next answer.
	next, changes := watched(t, ask(c, watching(position, 0, 20, "", "")))
	if changes != "a=1 m=2 z=3" {
		t.Errorf("20 bytes: %s", changes)
	}
	if _, changes := watched(t, ask(c, watching(next, 0, 1000, "", ""))); changes != "-m n=4" {
		t.Errorf("the rest: %s", changes)
	}
	if same, changes := watched(t, ask(c, watching(after, 0, 1000, "", ""))); same != after || changes != "" {
		t.Errorf("at the end: %d instead of %d, %s", same, after, changes)
	}
	for _, bad := range []uint64{after + 1000, 1<<64 - 1} {
		if got := ask(c, watching(bad, 0, 1000, "", "")); !bytes.Equal(got, gone) {
			t.Errorf("position %d: %q", bad, got)
		}
	}
}

// TestWatchWaits checks that a waiting WATCH holds up no other request of its connection, and is
// answered by a change in its range, or when its time is over.
func TestWatchWaits(t *testing.T) {
	s := serve(t, &slowStore{})
	c := s.dial()
	c.Send(packets(1, watching(0, long, 1000, "b", "c"), get("x"), set("a", "1"), watching(0, 20*time.Millisecond, 1000, "x", "")))
	answers := map[uint64][]byte{}
	for range 3 {
		id, record := c.Receive()
		answers[id] = bytes.Clone(record)
	}
	if !bytes.Equal(answers[2], not) || !bytes.Equal(answers[3], done) {
		t.Errorf("answers %v", answers)
	}
	if _, changes := watched(t, answers[4]); changes != "" {
		t.Errorf("when time is over: %s", changes)
	}
	c.ExpectSilence()
	c.Send(packets(9, set("b", "2")))
	for range 2 {
		switch id, record := c.Receive(); id {
		case 1:
			if _, changes := watched(t, record); changes != "b=2" {
				t.Errorf("changes %s", changes)
			}
		case 9:
		default:
			t.Errorf("answer %d", id)
		}
	}
}

// TestWatchSeesWhatIsDurable checks that watchers only see what is durable.
func TestWatchSeesWhatIsDurable(t *testing.T) {
	s, syncs := serveHeld(t, 1<<20)
	c, writer := s.dial(), s.dial()
	position := now(c)
	release := syncs.hold(nil)
	writer.Send(packets(1, set("a", "1")))
	<-syncs.reached
	c.Send(packets(1, watching(position, long, 1000, "", "")))
	c.ExpectSilence()
	close(release)
	id, record := c.Receive()
	if _, changes := watched(t, record); id != 1 || changes != "a=1" {
		t.Errorf("answer %d: %s", id, changes)
	}
	writer.ExpectAnswer(1, done)
}

func TestUnwatch(t *testing.T) {
	s := serve(t, &slowStore{})
	c, other := s.dial(), s.dial()
	other.Send(packets(5, watching(0, long, 1000, "", "")))
	c.Send(packets(5, watching(0, long, 1000, "", ""), watching(0, long, 1000, "", "")))
	c.Send(packets(9, unwatching(5), unwatching(77)))
	answers := map[uint64][]byte{}
	for range 3 {
		id, record := c.Receive()
		answers[id] = bytes.Clone(record)
	}
	if !bytes.Equal(answers[9], done) || !bytes.Equal(answers[10], done) {
		t.Errorf("answers %v", answers)
	}
	if _, changes := watched(t, answers[5]); changes != "" {
		t.Errorf("changes: %s", changes)
	}
	c.ExpectSilence()
	other.ExpectSilence()
	c.Send(packets(11, unwatching(6)))
	for range 2 {
		if id, _ := c.Receive(); id != 6 && id != 11 {
			t.Errorf("answer %d", id)
		}
	}
}

// TestWatchersThatLeave checks that the WATCHes of a client that is gone, or has closed its sending
// side, end and release their memory.
func TestWatchersThatLeave(t *testing.T) {
	s := serve(t, &slowStore{})
	for range 3 {
		half, gone := s.dial(), s.dial()
		half.Send(packets(1, watching(0, long, 1000, "", ""), watching(0, long, 1000, "", "")))
		must.Do(t, half.CloseWrite()) // sometimes together with the requests
		for id := range uint64(2) {
			if got, record := half.Receive(); got != id+1 || len(record) == 0 {
				t.Errorf("answer %d: %q", got, record)
			}
		}
		half.ExpectEnd()
		gone.Send(packets(1, watching(0, long, 1000, "", ""), get("a")))
		gone.ExpectAnswer(2, not)
		gone.Close()
	}
	must.Eventually(t, "nothing is reserved", func() bool { return s.server.WatchBytes() == 0 })
}

// TestStopWithWatches checks that a stop of the server does not wait for changes.
func TestStopWithWatches(t *testing.T) {
	s := serve(t, &slowStore{})
	c := s.dial()
	c.Send(packets(1, watching(0, long, 1000, "", ""), get("a")))
	c.ExpectAnswer(2, not)
	begin := time.Now()
	s.loop.Stop(long)
	if id, record := c.Receive(); id != 1 {
		t.Errorf("answer %d: %q", id, record)
	}
	c.ExpectEnd()
	if took := time.Since(begin); took > must.Patience {
		t.Errorf("the stop took %v", took)
	}
}

// TestWatchesAreBounded checks that the memory of all WATCHes, and the number of WATCHes of one
// connection, are bounded, and that other requests go on.
func TestWatchesAreBounded(t *testing.T) {
	s := serve(t, &slowStore{})
	c := s.dial()
	const many = kvlds.MaxConnWatches + 100
	requests := make([]wire.KVRequest, many)
	for i := range requests {
		requests[i] = watching(0, long, 1<<20, "", "")
	}
	c.Send(packets(0, requests...))
	refused := map[uint64]bool{}
	c.Send(packets(many, get("a"))) // behind all of them, and answered on the tree's goroutine or here
	for {
		id, record := c.Receive()
		if id == many {
			break
		}
		if !refusedAsTooMany(record) {
			t.Fatalf("answer %d: %q", id, record)
		}
		refused[id] = true
	}
	if n := many - len(refused); n != min(many, 1024) || s.server.WatchBytes() > 4<<20 {
		t.Errorf("%d wait, with %d bytes", n, s.server.WatchBytes())
	}
	if got := ask(s.dial(), watching(0, 0, 1<<20, "", "")); refusedAsTooMany(got) {
		t.Error("one that does not wait is refused")
	}
	// All are answered together, with as much as they had room for.
	big := strings.Repeat("v", 100)
	var changes []any
	for i := range 100 {
		changes = append(changes, setting(fmt.Sprint(i), big))
	}
	if got := ask(s.dial(), applying(changes...)); !bytes.Equal(got, done) {
		t.Fatalf("%q", got)
	}
	for range many - len(refused) {
		id, record := c.Receive()
		if a, err := wire.ParseWatched(record, 1<<20); err != nil || a.Changes.N == 0 || len(a.Changes.Data) > 16<<10 {
			t.Fatalf("answer %d: %d changes, %v", id, a.Changes.N, err)
		}
	}
	must.Eventually(t, "nothing is reserved", func() bool { return s.server.WatchBytes() == 0 })
}
