//go:build !race

package daemontest

// raceArgs builds the daemons with the race detector where the test has it.
var raceArgs []string
