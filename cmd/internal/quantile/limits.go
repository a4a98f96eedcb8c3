package quantile

const (
	// freshValues is how many values wait to be merged: enough that going through the
	// runs costs little for each, few enough to be sorted in less than a millisecond.
	freshValues = 4096

	// maxRuns is how many different values a Set tells apart, at 16 bytes each. Latencies
	// in microseconds below a second are never more.
	maxRuns = 1 << 20
)
