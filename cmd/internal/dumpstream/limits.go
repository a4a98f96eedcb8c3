package dumpstream

const (
	// bufferBytes is how much of a stream is read or written at a time.
	bufferBytes = 64 << 10

	// entriesAtATime is how many names of a tree are read at a time, which may have
	// millions.
	entriesAtATime = 256
)
