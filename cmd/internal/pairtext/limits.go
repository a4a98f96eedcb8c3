package pairtext

const (
	// headBytes is how much of an input shows which form it has.
	headBytes = 4096

	// bufferBytes is how much is read or written at a time.
	bufferBytes = 64 << 10

	// maxLineBytes is the longest line that is read: the longest key and value with each byte
	// escaped, and white space.
	maxLineBytes = 64 << 10
)
