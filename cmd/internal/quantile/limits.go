package quantile

const (
	// freshValues is how many values wait to be merged. Enough that the pass over the runs costs
	// little for each, and few enough to sort in less than a millisecond.
	freshValues = 4096

	// maxRuns is how many different values a Set distinguishes, at 16 bytes each. Latencies in
	// microseconds below a second never exceed it.
	maxRuns = 1 << 20
)
