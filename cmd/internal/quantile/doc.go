// Package quantile answers questions like "what did 99 in 100 stay below" about whole
// numbers, exactly, in memory that depends on how many different ones there are and
// not on how many.
//
//	Add --> fresh: as they come --full: sort, merge--> runs: value, count, ascending
//	                                                     |
//	                                     Quantile <------+
//
// A million latencies of a server, in microseconds, are some thousands of different
// numbers, so that keeping a count for each is exact and still small. Should there be
// more than maxRuns, they are rounded: see Set.
//
// Reading order: set.go, limits.go.
package quantile
