// Package pairtext writes pairs as text and reads them back: as escaped text, as JSON objects, one
// per line, and as CSV. Each form can hold every key and every value.
package pairtext

// Reading order: text.go, json.go, csv.go, read.go (detecting the form of an input), limits.go.
