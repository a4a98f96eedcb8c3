//go:build race

package daemontest

// Race tells that the programs have been built with the race detector, which takes several times
// the memory.
const Race = true

// raceArgs builds the daemons with the race detector where the test has it.
var raceArgs = []string{"-race"}
