package stress

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
)

// Distribution says how the records of a load are chosen. Its zero value is invalid;
// ParseDistribution creates them.
type Distribution struct {
	kind  string
	theta float64 // of zipfian: the skew, between 0 and 1
	// Of hotspot: hotOps of the operations use hotSet of the records.
	hotSet, hotOps float64
}

// defaultTheta is the skew of YCSB's zipfian workloads.
const defaultTheta = 0.99

// zipfItems is how many ranks a scrambled zipfian choice has, however many records there are. As in
// YCSB, there are so many that hashing them onto the records preserves the shape.
const zipfItems = 10_000_000_000

// ParseDistribution parses "uniform", "zipfian", "zipfian:THETA", "latest", "hotspot",
// "hotspot:SET:OPS" (OPS of the operations use SET of the records, both fractions) or "sequential".
func ParseDistribution(text string) (Distribution, error) {
	kind, rest, hasRest := strings.Cut(text, ":")
	d := Distribution{kind: kind, theta: defaultTheta, hotSet: 0.2, hotOps: 0.8}
	var err error
	switch {
	case kind == "zipfian" && hasRest:
		d.theta, err = parseFraction(rest)
	case kind == "hotspot" && hasRest:
		set, ops, _ := strings.Cut(rest, ":")
		if d.hotSet, err = parseFraction(set); err == nil {
			d.hotOps, err = parseFraction(ops)
		}
	case hasRest || !strings.Contains(" uniform zipfian latest hotspot sequential ", " "+kind+" "):
		err = fmt.Errorf("unknown; there are uniform, zipfian[:THETA], latest, hotspot[:SET:OPS], sequential")
	}
	if err != nil {
		return Distribution{}, fmt.Errorf("distribution %q: %w", text, err)
	}
	return d, nil
}

func parseFraction(text string) (float64, error) {
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || !(f > 0 && f < 1) {
		return 0, fmt.Errorf("%q is not a number between 0 and 1", text)
	}
	return f, nil
}

func (d Distribution) String() string {
	switch d.kind {
	case "zipfian":
		return fmt.Sprintf("zipfian:%g", d.theta)
	case "hotspot":
		return fmt.Sprintf("hotspot:%g:%g", d.hotSet, d.hotOps)
	}
	return d.kind
}

// picker returns a function that chooses one of n records. n may grow between calls. The function
// is not safe for concurrent use; keys is shared.
func (d Distribution) picker(random *rand.Rand, keys *keyspace) func(n uint64) uint64 {
	switch d.kind {
	case "zipfian":
		z := newZipf(d.theta)
		z.resize(zipfItems)
		return func(n uint64) uint64 { return mix64(z.rank(random)) % n }
	case "latest":
		z := newZipf(defaultTheta)
		return func(n uint64) uint64 {
			z.resize(n)
			return n - 1 - z.rank(random)
		}
	case "hotspot":
		return func(n uint64) uint64 {
			hot := min(max(1, uint64(d.hotSet*float64(n))), n)
			if hot == n || random.Float64() < d.hotOps {
				return random.Uint64N(hot)
			}
			return hot + random.Uint64N(n-hot)
		}
	case "sequential":
		return func(n uint64) uint64 { return (keys.sequence.Add(1) - 1) % n }
	}
	return random.Uint64N
}

// zipf chooses ranks 0 to n-1, rank i with a weight of 1/(i+1)^theta, in constant time and without
// a table. It uses the method of Gray et al., "Quickly Generating Billion-Record Synthetic
// Databases", which is exact for the first two ranks and close for all others.
type zipf struct {
	theta, alpha float64
	head         float64 // zeta of zetaHead
	n            uint64
	zeta, eta    float64
}

// zetaHead is how many terms of a zeta are summed; the rest are integrated.
const zetaHead = 1000

func newZipf(theta float64) *zipf {
	z := &zipf{theta: theta, alpha: 1 / (1 - theta)}
	for i := range zetaHead {
		z.head += math.Pow(float64(i+1), -theta)
	}
	return z
}

// zetaOf returns the sum of 1/i^theta for i from 1 to n.
func (z *zipf) zetaOf(n uint64) float64 {
	if n <= zetaHead {
		sum := 0.0
		for i := range n {
			sum += math.Pow(float64(i+1), -z.theta)
		}
		return sum
	}
	// By Euler and Maclaurin, this is the integral, and half of the difference of the ends.
	a, b := float64(zetaHead), float64(n)
	integral := (math.Pow(b, 1-z.theta) - math.Pow(a, 1-z.theta)) * z.alpha
	return z.head + integral + (math.Pow(b, -z.theta)-math.Pow(a, -z.theta))/2
}

// resize sets n, which must be at least 1.
func (z *zipf) resize(n uint64) {
	if n == z.n {
		return
	}
	z.n, z.zeta = n, z.zetaOf(n)
	z.eta = (1 - math.Pow(2/float64(n), 1-z.theta)) / (1 - (1+math.Pow(0.5, z.theta))/z.zeta)
}

func (z *zipf) rank(random *rand.Rand) uint64 {
	u := random.Float64()
	switch uz := u * z.zeta; {
	case uz < 1 || z.n == 1:
		return 0
	case uz < 1+math.Pow(0.5, z.theta) || z.n == 2:
		return 1
	}
	return min(uint64(float64(z.n)*math.Pow(z.eta*u-z.eta+1, z.alpha)), z.n-1)
}

// mix64 spreads x over all of 64 bits, one-to-one. (It is the finalizer of SplitMix64.)
func mix64(x uint64) uint64 {
	x += 0x9E3779B97F4A7C15
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	return x ^ x>>31
}
