package kvtest

import (
	"math/rand/v2"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"kivaloo/wire"
	"kivaloo/wire/wiretest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestCheckRange checks that every kind of wrong answer to a RANGE is noticed.
func TestCheckRange(t *testing.T) {
	m := wiretest.Model{"a": "1", "b": "2", "c": "3", "d": "4"} // four bytes each in an answer
	for _, tc := range []struct {
		max        uint32
		start, end string
		next       string
		pairs      string // its keys
		wrong      string // "" if the answer is right
	}{
		{100, "", "", "", "abcd", ""},
		{100, "b", "d", "d", "bc", ""},
		{8, "", "", "c", "ab", ""},
		{8, "", "", "bb", "ab", ""},
		{11, "a", "d", "c", "ab", ""},
		{0, "b", "", "c", "b", ""},
		{100, "d", "b", "b", "", ""},
		{100, "e", "", "", "", ""},
		{100, "b", "b", "b", "", ""},
		{100, "", "", "", "abc", "says that it is complete"},
		{100, "b", "d", "d", "bcd", "not before the end"},
		{100, "b", "d", "", "bc", "behind the end"},
		{100, "b", "d", "e", "bc", "behind the end"},
		{8, "", "", "d", "abc", "too long"},
		{100, "", "", "c", "abc", "but goes on at"},
		{100, "", "", "d", "abd", "does not follow"},
		{8, "", "", "b", "ab", "goes on at"},
		{8, "", "", "d", "ab", "without"},
		{8, "", "", "b", "a", "bytes of room"},
		{8, "a", "", "a", "", "after 0 pairs"},
	} {
		var pairs []byte
		for _, key := range tc.pairs {
			pairs = append(pairs, 1, byte(key), 1, m[string(key)][0])
		}
		r := wire.KVRequest{Type: wire.TypeRange, Max: tc.max, Key: []byte(tc.start), End: []byte(tc.end)}
		err := CheckRange(m, m.Keys(), &r, wire.AppendKVPairs(nil, uint32(len(tc.pairs)), []byte(tc.next), pairs))
		if tc.wrong == "" && err != nil || tc.wrong != "" && (err == nil || !strings.Contains(err.Error(), tc.wrong)) {
			t.Errorf("%+v: %v", tc, err)
		}
	}
}

// newChanges returns a load that has sent n changes, the first durable ones of them durable, and
// the content of the store after each number of changes.
func newChanges(n, durable int) (*Load, []wiretest.Model) {
	l := NewLoad(rand.New(rand.NewPCG(1, 2)), "p")
	after := []wiretest.Model{{}}
	for range n {
		l.record(l.source.Change(l.tip))
		m := wiretest.Model{"other": "not looked at"}
		for key, value := range l.tip {
			m[key] = value
		}
		after = append(after, m)
	}
	l.durable = durable
	return l, after
}

// TestLoadCheck checks that after a crash a load accepts every state from the last durable one on,
// and no other.
func TestLoadCheck(t *testing.T) {
	const changes, durable = 60, 25
	for n := range changes + 1 {
		l, after := newChanges(changes, durable)
		possible := false
		for i := durable; i <= changes; i++ {
			possible = possible || after[i].Diff(after[n]) == ""
		}
		if err := l.Check(after[n]); (err == nil) != possible {
			t.Errorf("after %d changes: %v", n, err)
		}
	}
	l, after := newChanges(changes, durable)
	after[durable+5]["p extra"] = "from nowhere"
	if l.Check(after[durable+5]) == nil {
		t.Error("a pair that nobody wrote is accepted")
	}
}

// TestLoadSees checks that a read must show a state at least as new as what was answered when it
// was sent, and that everything it shows counts as durable.
func TestLoadSees(t *testing.T) {
	l := NewLoad(rand.New(rand.NewPCG(1, 2)), "p")
	for _, value := range []string{"1", "2", "3"} {
		l.record(wire.KVRequest{Type: wire.TypeSet, Key: []byte("pk"), Value: []byte(value)})
	}
	for _, tc := range []struct {
		since   int
		value   string // "-" for absent
		ok      bool
		durable int
	}{
		{0, "-", true, 0},
		{0, "1", true, 1},
		{1, "-", false, 1},
		{1, "1", true, 1},
		{1, "3", true, 3},
		{2, "1", false, 3},
		{3, "3", true, 3},
		{0, "4", false, 3},
	} {
		answer := wire.AppendKVValue(nil, []byte(tc.value))
		if tc.value == "-" {
			answer = wire.AppendKVStatus(nil, 1)
		}
		if err := l.sees(read{"pk", tc.since}, answer); (err == nil) != tc.ok || l.durable != tc.durable {
			t.Errorf("%+v: %v, %d changes are durable", tc, err, l.durable)
		}
	}
}
