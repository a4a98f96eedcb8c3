// Package daemon is what the drop-in daemons have in common: how they read
// their command line, leave the terminal, write their pid file, speak on
// stderr, and end.
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
// The start command returns 0 when, and only when, the daemon is accepting
// connections; a daemon that fails first has said why on the stderr they share,
// and the start command exits with 1. With --foreground there is one process:
// it goes through the right-hand column and says nothing to anybody. The tools that come
// with the daemons have the command line and the way of speaking in common with them.
//
// Reading order: program.go (a daemon's life), detach.go (the two processes), listen.go,
// tool.go, flags.go (the command line), number.go (what a number may look like), log.go.
package daemon
