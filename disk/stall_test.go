package disk

import (
	"testing"
	"time"

	"kivaloo/actors"
)

func TestNoteStall(t *testing.T) {
	var events actors.Events
	NoteStall(&events, stallTime-1)
	NoteStall(&events, stallTime)
	NoteStall(nil, time.Second)
	if list, _ := events.Since(0); len(list) != 1 || list[0].Kind != EventStall || list[0].Took != stallTime {
		t.Errorf("noted: %v", list)
	}
}
