//go:build !invariants && !race

package tree

// invariants is off: see invariants_on.go.
const invariants = false
