package kvlds

const (
	// sendBytes is the size of the answers at which a buffer goes to the loop even
	// though the tree has not ended its step: the one writes while the other goes on.
	sendBytes = 64 << 10

	// A batch of a few requests takes little memory, for a client that sends one at a
	// time can have thousands of them waiting; what does not fit in it goes into large
	// ones, which take a fair part of what one read brings.
	smallRequests  = 4
	smallDataBytes = 1 << 10
	largeRequests  = 128
	largeDataBytes = 16 << 10

	// rangeAnswerBytes is what the answer to a RANGE or BACKUP takes besides the pairs
	// that it was asked for: packet, status, snapshot, count and next key, and one
	// pair that may exceed what was asked for.
	rangeAnswerBytes = 20 + 16 + 256 + 512
)
