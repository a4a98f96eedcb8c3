// Package number has flags that take a number within bounds. The command line is refused if a
// number is out of bounds, or is none (NaN), before anything is opened, made or measured.
package number
