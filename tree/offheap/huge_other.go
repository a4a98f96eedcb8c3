//go:build unix && !linux && !race

package offheap

// wantHugePages does nothing: there is no portable way to ask.
func wantHugePages([]byte) {}
