package dumpstream

const (
	// bufferBytes is how much of a stream is read or written at a time.
	bufferBytes = 64 << 10

	// backupHeadBytes is how much of an input shows that it is a backup.
	backupHeadBytes = 16

	// entriesAtATime is how many names of a tree are read at a time. A tree may have millions.
	entriesAtATime = 256
)
