package remote

import "time"

const (
	// maxOutstanding is how many operations may be unanswered before Submit blocks. More would have
	// to wait at the peer, which stops reading at that number.
	maxOutstanding = 4096

	// batchOps is how many operations go to the event loop at once.
	batchOps = 256

	// stopGrace is how long the loop may take to end when there is nothing left to send.
	stopGrace = time.Second
)
