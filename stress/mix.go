package stress

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
)

// Op is a kind of operation.
type Op uint8

// The operations of a load.
const (
	OpGet    Op = iota
	OpSet       // of an existing record
	OpInsert    // SET of a new record
	OpRange     // 1 to maxScan records, in key order
	OpRMW       // read-modify-write: GET, then SET
	OpCAS       // GET, then CAS from the value found
	OpAdd
	OpModify
	OpDelete
	numOps
)

var opNames = [numOps]string{"get", "set", "insert", "range", "rmw", "cas", "add", "modify", "delete"}

func (o Op) String() string { return opNames[o] }

// Mix is the share of each operation. The shares add up to 1.
type Mix [numOps]float64

// ParseMix parses "get=90,set=10". The shares may be on any scale.
func ParseMix(text string) (Mix, error) {
	var m Mix
	sum := 0.0
	for part := range strings.SplitSeq(text, ",") {
		name, weight, _ := strings.Cut(part, "=")
		op, err := parseOp(name)
		if err != nil {
			return Mix{}, fmt.Errorf("mix %q: %w", text, err)
		}
		w, err := strconv.ParseFloat(weight, 64)
		if err != nil || !(w > 0 && w <= 1e9) || m[op] != 0 {
			return Mix{}, fmt.Errorf("mix %q: %q is not an operation with its part, as in get=90, once", text, part)
		}
		m[op] = w
		sum += w
	}
	for i := range m {
		m[i] /= sum
	}
	return m, nil
}

func parseOp(name string) (Op, error) {
	for i, n := range opNames {
		if n == name {
			return Op(i), nil
		}
	}
	return 0, fmt.Errorf("no operation %q; there are %s", name, strings.Join(opNames[:], ", "))
}

// String returns m in the form that ParseMix parses, in percent.
func (m Mix) String() string {
	var parts []string
	for i, w := range m {
		if w > 0 {
			parts = append(parts, fmt.Sprintf("%s=%.4g", opNames[i], 100*w))
		}
	}
	return strings.Join(parts, ",")
}

// ops returns the operations in m.
func (m Mix) ops() []Op {
	var ops []Op
	for i, w := range m {
		if w > 0 {
			ops = append(ops, Op(i))
		}
	}
	return ops
}

// pick chooses an operation.
func (m *Mix) pick(random *rand.Rand) Op {
	u := random.Float64()
	last := OpGet
	for i, w := range m {
		if w == 0 {
			continue
		}
		last = Op(i)
		if u -= w; u < 0 {
			break
		}
	}
	return last
}

// The core workloads of YCSB: their mixes, and how they choose records.
var ycsb = map[string]struct{ mix, distribution string }{
	"a": {"get=50,set=50", "zipfian"},     // update heavy: sessions
	"b": {"get=95,set=5", "zipfian"},      // read mostly: tags of photos
	"c": {"get=100", "zipfian"},           // read only: a cache of profiles
	"d": {"get=95,insert=5", "latest"},    // read latest: status updates
	"e": {"range=95,insert=5", "zipfian"}, // short ranges: threads of conversations
	"f": {"get=50,rmw=50", "zipfian"},     // read-modify-write: a database of users
}

// YCSB returns the mix and the distribution of workload "a" to "f".
func YCSB(name string) (m Mix, d Distribution, err error) {
	w, ok := ycsb[name]
	if !ok {
		return Mix{}, Distribution{}, fmt.Errorf("no workload %q; there are a, b, c, d, e and f of YCSB", name)
	}
	if m, err = ParseMix(w.mix); err == nil {
		d, err = ParseDistribution(w.distribution)
	}
	return m, d, err
}
