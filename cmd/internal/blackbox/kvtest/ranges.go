package kvtest

import (
	"fmt"
	"sort"

	"kivaloo/wire"
	"kivaloo/wire/wiretest"
)

// CheckRange checks the answer to a RANGE on a store that holds m. keys are the keys of m in order.
// The pairs must be those of m from the start up to next, no key may reach the end, their length
// must be within the limit unless there is only one, and there must have been no room for another.
func CheckRange(m wiretest.Model, keys []string, r *wire.KVRequest, record []byte) error {
	n, next, pairs, err := wire.ParseKVPairs(record, r.Max)
	if err != nil {
		return describeRange(r, err)
	}
	left, got := int(r.Max), 0
	i := sort.SearchStrings(keys, string(r.Key))
	for ; len(pairs) > 0; i, got = i+1, got+1 {
		key, value, rest, err := wire.CutPair(pairs)
		if err != nil {
			return describeRange(r, err)
		}
		switch {
		case i >= len(keys) || keys[i] != string(key):
			return describeRange(r, fmt.Errorf("has %q, which does not follow", key))
		case m[keys[i]] != string(value):
			return describeRange(r, fmt.Errorf("has %q for %q, should be %q", value, key, m[keys[i]]))
		case len(r.End) > 0 && string(key) >= string(r.End):
			return describeRange(r, fmt.Errorf("has %q, which is not before the end", key))
		case len(next) > 0 && string(key) >= string(next):
			return describeRange(r, fmt.Errorf("has %q, but goes on at %q", key, next))
		}
		if left -= pairBytes(keys[i], m[keys[i]]); left < 0 && got > 0 {
			return describeRange(r, fmt.Errorf("is %d bytes too long", -left))
		}
		pairs = rest
	}
	if got != int(n) {
		return describeRange(r, fmt.Errorf("has %d pairs, and says %d", got, n))
	}
	if string(next) == string(r.End) {
		if i < len(keys) && (len(r.End) == 0 || keys[i] < string(r.End)) {
			return describeRange(r, fmt.Errorf("says that it is complete, without %q", keys[i]))
		}
		return nil
	}
	switch {
	case len(r.End) > 0 && (len(next) == 0 || string(next) > string(r.End)):
		return describeRange(r, fmt.Errorf("goes on at %q, behind the end", next))
	case i < len(keys) && keys[i] < string(next):
		return describeRange(r, fmt.Errorf("goes on at %q, without %q", next, keys[i]))
	case got == 0 || i < len(keys) && left >= pairBytes(keys[i], m[keys[i]]):
		return describeRange(r, fmt.Errorf("goes on at %q after %d pairs, with %d bytes of room", next, got, left))
	}
	return nil
}

// pairBytes returns the length of a pair in an answer.
func pairBytes(key, value string) int { return 2 + len(key) + len(value) }

func describeRange(r *wire.KVRequest, err error) error {
	return fmt.Errorf("RANGE %d from %q to %q: %w", r.Max, r.Key, r.End, err)
}
