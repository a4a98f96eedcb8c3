package mux

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

// TestQueue checks that a queue returns its requests in order, and has no memory when it is empty.
func TestQueue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var m Mux
		var q queue
		var want []request
		t.Repeat(map[string]func(*rapid.T){
			"push": func(t *rapid.T) {
				r := request{
					id:     rapid.Uint64().Draw(t, "id"),
					record: bytes.Repeat([]byte{byte(len(want))}, rapid.IntRange(0, 700).Draw(t, "length")),
					ours:   rapid.Bool().Draw(t, "ours"),
					charge: rapid.IntRange(0, 1<<33).Draw(t, "charge"),
				}
				q.push(&m, r)
				want = append(want, r)
			},
			"pop": func(t *rapid.T) {
				if len(want) == 0 {
					t.Skip()
				}
				r := q.pop(&m)
				if r.id != want[0].id || r.charge != want[0].charge || r.ours != want[0].ours || !bytes.Equal(r.record, want[0].record) {
					t.Fatalf("got %+v, want %+v", r, want[0])
				}
				want = want[1:]
			},
			"": func(t *rapid.T) {
				if q.empty() != (len(want) == 0) {
					t.Fatalf("empty is %v with %d requests", q.empty(), len(want))
				}
				if q.empty() && (q.buf != nil || q.apart != nil) {
					t.Fatal("an empty queue has memory")
				}
			},
		})
	})
}

// TestQueueUsesItsRoomAgain checks that a queue that never becomes empty does not grow for ever.
func TestQueueUsesItsRoomAgain(t *testing.T) {
	var m Mux
	var q queue
	record := make([]byte, 100)
	for range 10 {
		q.push(&m, request{record: record})
	}
	for range 10_000 {
		q.push(&m, request{record: record})
		q.pop(&m)
	}
	if cap(q.buf) > 8000 {
		t.Errorf("10 requests of 100 bytes take %d bytes", cap(q.buf))
	}
}

func TestLine(t *testing.T) {
	var l line
	a, b, c := new(session), new(session), new(session)
	for range 2 {
		for _, s := range []*session{a, b, c} {
			l.join(s)
		}
		l.join(l.leave()) // a moves behind the others
		for _, want := range []*session{b, c, a} {
			if s := l.leave(); s != want || s.inLine || s.behind != nil {
				t.Fatal("out of order, or still in line")
			}
		}
		if !l.empty() || l.last != nil {
			t.Fatal("an empty line holds on to a session")
		}
	}
}
