// Package results is internal to kivaloo: other programs use package kivaloo.
//
// It stores the results of a load in a directory, prints them as a table, and compares
// them with others.
//
//	stress.Run --each interval--> Writer --> intervals.csv, latency.hlog, bench.txt
//	           --outcome--------> Writer --> summary.json        Read <--- the directory
//	                                                               |
//	                              Table, Compare, Report <-----+
package results

// Reading order: summary.go (what is known about a load), writer.go (the directory), reader.go,
// events.go (inside the store), table.go (plain text), compare.go (two loads), condition.go
// (limits), sweep.go (one rate after the other), report.go, svg.go and report.html.tmpl (the page).
