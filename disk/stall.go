package disk

import (
	"time"

	"kivaloo/actors"
)

// EventStall is the kind of event for a sync that took too long.
const EventStall = "fsync stall"

// NoteStall adds an event for a sync that took stallTime or more. It is for Options.OnSync.
func NoteStall(events *actors.Events, took time.Duration) {
	if took >= stallTime {
		events.Mark(EventStall, took)
	}
}
