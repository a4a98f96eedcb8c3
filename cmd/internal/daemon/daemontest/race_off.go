//go:build !race

package daemontest

// Race says whether the programs were built with the race detector, which uses several times the
// memory.
const Race = false

// raceArgs builds the daemons with the race detector if the test has it.
var raceArgs []string
