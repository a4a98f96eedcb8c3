// Package results keeps what came of a load: in a directory, as a table, and compared with another.
//
//	stress.Run --each interval--> Writer --> intervals.csv, latency.hlog, bench.txt
//	           --outcome--------> Writer --> summary.json        Read <--- the directory
//	                                                               |
//	                              Table, Compare, Report <-----+
//
// Reading order: summary.go (what is known of a load), writer.go (the directory), reader.go,
// events.go (inside the store), table.go (for people), compare.go (two loads), condition.go (what
// may not become worse), sweep.go (one rate after the other), report.go, svg.go and
// report.html.tmpl (the page).
package results
