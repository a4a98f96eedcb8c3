package mux

import (
	"encoding/binary"

	"kivaloo/eventloop"
	"kivaloo/wire"
)

// Operations are counted by their index in allowedTypes, or as opAny if records are not parsed.
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

// tally counts requests in plain numbers, and publishes the counts once per read.
type tally struct {
	counts *eventloop.RequestCounts // nil: no counting
	ended  [opAny + 1][eventloop.Statuses]uint32
	some   bool // ended is not all zeros
}

func (t *tally) add(op uint8, s eventloop.Status) {
	if t.counts != nil {
		t.ended[op][s]++
		t.some = true
	}
}

// answered counts an answered request. The status in the answer says how the request ended; the
// answer to PARAMS has none.
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

// publish adds the counts of the tally.
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

// operation returns the operation of a record that passed the rules.
func (m *Mux) operation(record []byte) uint8 {
	if m.rules == nil {
		return uint8(opAny)
	}
	return uint8(place(binary.BigEndian.Uint32(record)))
}
