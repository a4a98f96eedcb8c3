// Package simfs is internal to kivaloo: other programs use package kivaloo.
//
// It is a file system in memory that can be crashed. It is for tests of everything that
// keeps its data through disk.FS.
//
//	process --write, truncate--> [ what the process sees ] --Sync----> [ what is on disk ]
//	        --create, rename, --> [ names that it sees    ] --SyncDir-> [ names on disk    ]
//	          remove                        |                                   |
//	                                        +----- Crash: a mixture of both ----+
//
// Crash returns the file system that a power cut at this moment could leave. What was synced is
// there. Of the rest, each 512-byte sector, each length and each change of a name may have reached
// the disk or not. Left does the same with answers that the caller gives, and can leave garbage
// where nothing was before; Outcomes lists the answers. Kill returns the file system that the death
// of the process leaves, with all that it has written. None of them changes the file system that it
// is called on, so one run of a test can be cut in many places.
//
// After a Sync or SyncDir that fails, simfs does the worst, which is what Linux does: the data
// counts as clean from then on, so no later sync writes it. Only data that is written again is
// synced again. DropCache shows what that means while the process goes on. A SyncDir that fails
// because of a shortage loses nothing: names are in the journal of the file system, which has not
// begun to write.
//
// A hook sees every call before it is carried out, and each write once more in the middle. It can
// make the call fail. Lie makes a Sync report success although the disk did something else. Crash
// and Lie draw from the generators that they are given; nothing else is random.
package simfs

// Files in reading order: simfs.go (the directory), file.go (one file), crash.go (power cuts),
// lie.go (disks that lie).
