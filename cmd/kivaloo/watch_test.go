package main

import "testing"

// TestWatchUnsupported checks the error for a server of the original.
func TestWatchUnsupported(t *testing.T) {
	s := startFake(t, "k=v")
	kivalooRun("", "watch", "--addr", s.addr).want(t, 1, "", "the server does not offer this")
	kivalooRun("", "watch", "--addr", s.addr, "--hex", "x").want(t, 1, "", `START "x" is not in hex`)
}
