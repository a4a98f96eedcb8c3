package debug

import "time"

const (
	// maxConnections is how many may be open at once: enough for some people and scrapers, and far
	// too few to take the descriptors of clients.
	maxConnections = 32

	// maxProfiles is how many profiles may be made at once: kivaloo-stress takes five. They
	// can take minutes, and leave most connections to others.
	maxProfiles = 8

	// maxHeaderBytes is far above what browsers and scrapers send.
	maxHeaderBytes = 16 << 10

	// headerTimeout, requestTimeout and idleTimeout are how long a peer may take to send the head
	// of a request, to send all of it, and to send the next one.
	headerTimeout  = 5 * time.Second
	requestTimeout = 10 * time.Second
	idleTimeout    = 2 * time.Minute

	// answerTimeout is how long a peer may take to read an answer, after the time that
	// making it takes.
	answerTimeout = 30 * time.Second

	// maxProfileTime is the longest time that a profile may be asked to span.
	maxProfileTime = 10 * time.Minute

	// mutexFraction and blockingRate are what is sampled for profiles of contention: one in so many
	// waits for a mutex, and on the average one wait for each so long that goroutines are blocked.
	// They are coarse, as they are taken under load; of what is in the way there are many samples
	// all the same.
	mutexFraction = 10
	blockingRate  = 100 * time.Microsecond

	// recentEvents is how many events people are shown.
	recentEvents = 8

	// recordingAge and maxRecordingBytes are how far back a flight recording reaches: the longer
	// the better for whoever has just seen a stall, but it stays in memory.
	recordingAge      = 10 * time.Second
	maxRecordingBytes = 16 << 20

	// treePatience is how long the tree may take to say how it is. Its steps take milliseconds.
	treePatience = 2 * time.Second

	// sampleEvery is how often the numbers for people change: as fast as they can be read.
	sampleEvery = time.Second

	// historySamples is how much the page's curves show: five minutes.
	historySamples = 300

	// stopGrace is how long answers under way get when the server stops.
	stopGrace = time.Second
)
