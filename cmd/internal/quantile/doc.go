// Package quantile computes exact quantiles of whole numbers. Its memory depends on how many
// different numbers there are, not on how many there are in total.
//
//	Add --> fresh: as they come --full: sort, merge--> runs: value, count, ascending
//	                                                     |
//	                                     Quantile <------+
//
// A million latencies of a server, in microseconds, are a few thousand different numbers. So
// keeping a count for each is exact and still small. If there are more than maxRuns, they are
// rounded: see Set.
package quantile

// Reading order: set.go, limits.go.
