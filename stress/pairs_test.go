package stress

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"testing"
)

// TestPairs compares with checksums of the output of the original's generator.
func TestPairs(t *testing.T) {
	for n, want := range map[uint64]string{
		0:     "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
		1000:  "344da37ef05a02b9e3027e2f8b3d09eefad1c501a01287018cc8dacc5171d29b",
		2000:  "98941a0422a65d83f6aeaec3ca3ed7cd622f18033c09fdaabdf1e8f2f70bec48",
		65536: "e98fc438a64fdae052c15d8823f386f5465e6165722d32d604a70ee4bd2e5230",
		70000: "1a7b5757bb4bcbcdda9525cfe38f48075b9ad1c4d105dbcafcd360f52a54f101",
	} {
		h := sha256.New()
		for p := range Pairs(n) {
			h.Write(p[:])
		}
		if got := hex.EncodeToString(h.Sum(nil)); got != want {
			t.Errorf("%d pairs: SHA-256 is %s, want %s", n, got, want)
		}
	}
}

func TestPairAt(t *testing.T) {
	const n = groupSize + 10
	pairs := Collect(n)
	if !slices.IsSortedFunc(pairs, func(a, b Pair) int { return bytes.Compare(a.Key(), b.Key()) }) {
		t.Error("not in order")
	}
	for _, p := range []uint64{0, 1, groupSize - 1, groupSize, n - 1} {
		if !slices.Contains(pairs, PairAt(p)) {
			t.Errorf("pair %d is not among the first %d", p, n)
		}
	}
	if slices.Contains(pairs, PairAt(n)) {
		t.Errorf("pair %d is among the first %d", n, n)
	}
}

func TestPairsStops(t *testing.T) {
	taken := 0
	for range Pairs(1000) {
		if taken++; taken == 3 {
			break
		}
	}
	if taken != 3 {
		t.Errorf("%d taken", taken)
	}
}

func TestPairParts(t *testing.T) {
	p := PairAt(1)
	_ = append(p.Key(), 0xFF)
	if p != PairAt(1) || len(p.Key()) != KeyLen || len(p.Value()) != KeyLen {
		t.Errorf("%x", p)
	}
}
