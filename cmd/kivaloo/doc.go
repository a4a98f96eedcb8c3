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
// 3 where a key is absent or a condition did not hold, 4 where salvage could not
// save everything, and 5 where the changes to watch are not kept any more.
package main

// Reading order: main.go has the list of commands; client.go what all clients share; get.go,
// set.go, change.go, delete.go, range.go, watch.go, params.go the commands for pairs; dump.go,
// load.go, export.go, backup.go, restore.go, progress.go those for whole stores; serve.go the
// server; check.go, page.go, salvage.go those that look into a directory; top.go; version.go;
// json.go; limits.go has the limits.
