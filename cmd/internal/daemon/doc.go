// Package daemon holds what the drop-in daemons share: command lines, leaving the terminal, pid
// files, diagnostics on stderr, and stopping.
//
//	start command                          daemon (the same program again)
//	-------------                          -------------------------------
//	read the command line
//	run itself, with a pipe  ------------> read the command line
//	wait                                   start: bind, open the store, ...
//	  |                                    new session, pid file
//	  | <------------ one byte ----------- ready
//	exit 0                                 serve, until a signal or the end
//
// The start command returns 0 if and only if the daemon is accepting connections. If the daemon
// fails earlier, it prints the reason on the stderr that they share, and the start command exits
// with 1. With --foreground there is only one process: it goes through the right-hand column and
// notifies nobody. The tools that come with the daemons share their command line and diagnostics.
package daemon

// Reading order: program.go (a daemon's life), detach.go (the two processes), listen.go, tool.go,
// flags.go (the command line), number.go (the syntax of numbers), log.go.
