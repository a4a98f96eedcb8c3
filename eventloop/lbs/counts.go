package lbs

import (
	"kivaloo/disk"
	"kivaloo/eventloop"
)

// Operations, as counted.
const (
	opParams = iota
	opGet
	opAppend
	opFree
)

// NewCounts returns counts for Options.
func NewCounts() *eventloop.RequestCounts {
	return eventloop.NewRequestCounts("params", "get", "append", "free")
}

// outcome is the status of a request that the store has dealt with.
func outcome(op *disk.Op) eventloop.Status {
	switch {
	case op.Err != nil:
		return eventloop.StatusFailed
	case op.OK:
		return eventloop.StatusOK
	}
	return eventloop.StatusNotDone
}
