// Package logfile writes the log files of the daemons: one line for each event, with the
// time in front, in a file that may be renamed away under it.
//
//	text --Write--> "2026-11-24 06:36:05" + text + "\n" --one write--> the file
//	                                                                    ^
//	once a second --Follow--> is the path still this file? if not: open-+
//
// A log is rotated by renaming it: lines go on into the renamed file for at most a
// second, and into a new one from then on. Nothing has to be signalled or restarted.
//
// Reading order: file.go.
package logfile
