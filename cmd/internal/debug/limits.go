package debug

import "time"

const (
	// maxConnections is the most open connections. It is enough for a few people and scrapers, and
	// far too few to use up the descriptors needed for clients.
	maxConnections = 32

	// maxProfiles is the most profiles made at once. kivaloo-stress takes five. They can take
	// minutes, and leave most connections to others.
	maxProfiles = 8

	// maxHeaderBytes is far more than browsers and scrapers send.
	maxHeaderBytes = 16 << 10

	// headerTimeout, requestTimeout and idleTimeout limit how long a peer may take to send a
	// request's head, to send all of it, and to send the next one.
	headerTimeout  = 5 * time.Second
	requestTimeout = 10 * time.Second
	idleTimeout    = 2 * time.Minute

	// answerTimeout limits how long a peer may take to read an answer, in addition to the time
	// needed to make it.
	answerTimeout = 30 * time.Second

	// maxProfileTime is the longest time span of a profile.
	maxProfileTime = 10 * time.Minute

	// mutexFraction and blockingRate are the sampling rates of contention profiles: one of
	// mutexFraction waits for a mutex, and on average one wait per blockingRate of time that
	// goroutines are blocked. They are coarse, because sampling happens under load. A real
	// bottleneck still gets many samples.
	mutexFraction = 10
	blockingRate  = 100 * time.Microsecond

	// recentEvents is the number of events shown to people.
	recentEvents = 8

	// recordingAge and maxRecordingBytes limit a flight recording. A longer one shows more of what
	// led to a stall, but it stays in memory.
	recordingAge      = 10 * time.Second
	maxRecordingBytes = 16 << 20

	// treePatience is how long to wait for the tree's answer. Its steps take milliseconds.
	treePatience = 2 * time.Second

	// sampleEvery is the interval at which the numbers for people change: as fast as they can be
	// read.
	sampleEvery = time.Second

	// historySamples is the length of the page's curves: five minutes.
	historySamples = 300

	// stopGrace is the time that pending answers get when the server stops.
	stopGrace = time.Second
)
