//go:build invariants || race

package tree

// invariants makes frames be overwritten when they are freed. It also has every page read back and
// checked after it is built, before it is appended.
const invariants = true
