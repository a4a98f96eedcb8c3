//go:build !race

package tree

// raceEnabled disables prefetching in builds with the race detector, which would report it.
const raceEnabled = false
