// Package simfs is a file system in memory that can be crashed, for tests of everything
// that keeps its data through disk.FS.
//
//	process --write, truncate--> [ what the process sees ] --Sync----> [ what is on disk ]
//	        --create, rename, --> [ names that it sees    ] --SyncDir-> [ names on disk    ]
//	          remove                        |                                   |
//	                                        +----- Crash: a mixture of both ----+
//
// Crash gives the file system that a power cut at this moment could leave: what was synced
// is there, and of the rest each 512-byte sector, each length and each change of
// a name may have made it or not. Kill gives the one that the death of the process leaves: all
// that it has written. Neither disturbs the file system that it is called on, so that
// one run of a test can be cut in many places.
//
// A Sync or SyncDir that fails is taken at its worst, which is what Linux does: what it
// should have written counts as written from then on, and no later one makes up for it. Only what is
// written again is synced again. A SyncDir that fails for a shortage has lost nothing: names are in the journal
// of the file system, and that was not begun. DropCache shows what that means while the process goes on.
//
// A hook sees every call before it is carried out, and each write once more in the
// middle; it can let it fail. Nothing here is random but what Crash draws from the
// generator that it is given.
//
// Files in reading order: simfs.go (the directory), file.go (one file), crash.go.
package simfs
