// Command kivaloo keeps a store and talks to one.
//
//	command line --cobra--> newXCommand: flags and arguments
//	                             |
//	                             v
//	                    clientOptions.with: dial, run, close
//	                             |
//	       stdin, files --load-->|<--get, set, range, dump--> stdout, files
//	                             v
//	                         a server
//
// Results go to standard output, everything else to standard error: errors as one
// line that begins with "kivaloo: ". The exit status is 0 for done, 1 for an error,
// and 3 where a key was absent or a condition did not hold.
//
// Reading order: main.go has the list of commands; client.go what all clients
// share; get.go, change.go, range.go, params.go the commands for single pairs;
// dump.go, load.go, backup.go, restore.go, progress.go those for whole stores; serve.go the server; check.go, page.go
// those that look into a directory; top.go; version.go; limits.go has the limits.
package main
