// Package number provides flags for numbers within bounds. A number that is out of bounds, or NaN,
// is refused before anything is opened, created or measured.
package number
