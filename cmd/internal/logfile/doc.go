// Package logfile writes the log files of the daemons: one line for each event, beginning with the
// time, in a file that may be renamed at any time.
//
//	text --Write--> "2026-11-24 06:36:05" + text + "\n" --one write--> the file
//	                                                                    ^
//	once a second --Follow--> is the path still this file? if not: open-+
//
// To rotate a log, rename it: for at most a second lines still go into the renamed file, then into
// a new one. Nothing has to be signalled or restarted.
package logfile

// Reading order: file.go.
