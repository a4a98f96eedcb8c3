package mux

import (
	"encoding/binary"

	"kivaloo/eventloop"
	"kivaloo/wire"
)

// Operations, as they are counted, are places in allowedTypes, and opAny where records are not
// looked at.
const opAny = len(allowedTypes)

var (
	opParams  = place(wire.TypeParams)
	opUnwatch = place(wire.TypeUnwatch)
)

// NewCounts returns counts for Options.
func NewCounts() *eventloop.RequestCounts {
	var names []string
	for _, typ := range allowedTypes {
		names = append(names, typeWord(typ))
	}
	return eventloop.NewRequestCounts(append(names, "any")...)
}

// tally counts requests in plain numbers, and publishes them once for all that one read has
// brought.
type tally struct {
	counts *eventloop.RequestCounts // nil: nothing is counted
	ended  [opAny + 1][eventloop.Statuses]uint32
	some   bool // ended is not all 0
}

func (t *tally) add(op uint8, s eventloop.Status) {
	if t.counts != nil {
		t.ended[op][s]++
		t.some = true
	}
}

// answered counts a request that has been answered. The status in the answer says how it ended;
// that to PARAMS has none.
func (t *tally) answered(op uint8, answer []byte) {
	status := eventloop.StatusOK
	if int(op) != opAny && int(op) != opParams && len(answer) >= 4 {
		switch binary.BigEndian.Uint32(answer) {
		case 0:
		case 1:
			status = eventloop.StatusNotDone
		default:
			status = eventloop.StatusFailed
		}
	}
	t.add(op, status)
}

// publish adds what has been counted to the counts.
func (t *tally) publish() {
	if !t.some {
		return
	}
	for op := range t.ended {
		for s, n := range t.ended[op] {
			if n > 0 {
				t.counts.Add(op, eventloop.Status(s), uint64(n))
			}
		}
	}
	t.ended, t.some = [opAny + 1][eventloop.Statuses]uint32{}, false
}

// operation returns what a record asks for, which the rules have been applied to.
func (m *Mux) operation(record []byte) uint8 {
	if m.rules == nil {
		return uint8(opAny)
	}
	return uint8(place(binary.BigEndian.Uint32(record)))
}
