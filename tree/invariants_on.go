//go:build invariants || race

package tree

// invariants: frames are overwritten when they are given back, and every page that
// was built is read back and checked before it is appended.
const invariants = true
