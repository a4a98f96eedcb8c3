package lbs_test

import (
	"errors"
	"testing"

	"kivaloo/internal/must"
	"kivaloo/wire"
)

// counted checks all counts that are not 0.
func (s *server) counted(want map[string]uint64) {
	s.t.Helper()
	s.counts.Each(func(op, status string, n uint64) {
		if key := op + " " + status; n != want[key] {
			s.t.Errorf("%s: %d, want %d", key, n, want[key])
		}
	})
}

// count returns one count.
func (s *server) count(op, status string) (count uint64) {
	s.counts.Each(func(o, st string, n uint64) {
		if o == op && st == status {
			count = n
		}
	})
	return count
}

func TestCounts(t *testing.T) {
	store := filled(5)
	s := serve(t, store)
	c := s.dial()
	c.ask(0, params2, wire.LBSRequest{Type: wire.TypeLBSParams}, free(1), appendOf(9, 1))
	for range 4 {
		c.Receive()
	}
	c.ask(0, get(0), get(1), get(1000), appendOf(5, 1))
	for range 4 {
		c.Receive()
	}
	s.counted(map[string]uint64{"params ok": 2, "free ok": 1, "append not_done": 1, "append ok": 1, "get ok": 2, "get not_done": 1})
}

func TestCountsOfWhatWasNotDone(t *testing.T) {
	store := filled(20)
	store.hold()
	s := serve(t, store)
	c := s.dial()
	for i := range uint64(3 * readers) {
		c.ask(i, get(i))
	}
	s.eventually(func() bool { return store.submitted() == readers })
	must.Do(t, c.CloseWrite())
	s.eventually(func() bool { return s.count("get", "dropped") == 2*readers })
	store.release(true)
	for range readers {
		c.Receive()
	}
	s.counted(map[string]uint64{"get ok": readers, "get dropped": 2 * readers})

	broken := filled(1)
	broken.err = errors.New("disk on fire")
	s = serve(t, broken)
	s.dial().ask(1, get(0))
	<-s.fatal
	s.eventually(func() bool { return s.count("get", "failed") == 1 })
}
