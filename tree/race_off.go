//go:build !race

package tree

// raceEnabled: loads whose results nobody uses would be reported as races.
const raceEnabled = false
