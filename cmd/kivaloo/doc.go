// Command kivaloo runs a store, and is a client of stores.
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
// Results go to standard output, everything else to standard error. An error is one line that
// begins with "kivaloo: ". The exit status is 0 for success, 1 for an error, 3 if a key is absent
// or a condition did not hold, 4 if salvage made OUT but not all in it is certain, and 5 if the
// changes to watch are no longer kept.
package main

// Reading order: main.go has the list of commands, client.go what all clients share; get.go,
// set.go, change.go, delete.go, range.go, watch.go, params.go are the commands for pairs; dump.go,
// load.go, export.go, backup.go, restore.go, progress.go those for whole stores; serve.go is the
// server; check.go, page.go, salvage.go read a directory; top.go; version.go; json.go; limits.go.
