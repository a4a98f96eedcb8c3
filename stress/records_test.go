package stress

import (
	"errors"
	"slices"
	"testing"
)

func TestValues(t *testing.T) {
	scratch := make([]byte, 0, 300)
	for _, size := range []int{20, 21, 27, 28, 100, 255} {
		v := appendValue(nil, 7, 8, 9, size)
		if len(v) != size {
			t.Errorf("%d bytes, want %d", len(v), size)
		}
		if n, run, version, err := parseValue(v, scratch); n != 7 || run != 8 || version != 9 || err != nil {
			t.Errorf("%d bytes: %d %d %d %v", size, n, run, version, err)
		}
		for i := range v {
			bad := slices.Clone(v)
			bad[i] ^= 1
			if _, _, _, err := parseValue(bad, scratch); err == nil && size > 28 {
				t.Errorf("%d bytes: byte %d is not checked", size, i)
			}
		}
	}
	if _, _, _, err := parseValue([]byte("short"), scratch); !errors.Is(err, ErrVerify) {
		t.Errorf("a short value: %v", err)
	}
}

func TestKeyspace(t *testing.T) {
	k := newKeyspace(10)
	for _, step := range []struct{ n, limit uint64 }{{11, 10}, {12, 10}, {10, 13}, {14, 13}, {13, 15}} {
		k.acknowledge(step.n)
		if got := k.limit.Load(); got != step.limit {
			t.Errorf("after %d: %d, want %d", step.n, got, step.limit)
		}
	}
	if len(k.acked) != 0 {
		t.Errorf("left: %v", k.acked)
	}
}

func TestLedger(t *testing.T) {
	const run, other, size = 1, 2, 50
	l := newLedger(run, 10)
	scratch := make([]byte, 0, 100)
	wrong := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, ErrVerify) {
			t.Errorf("%s is taken: %v", what, err)
		}
	}
	right := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	value := func(n, run uint64, version uint32) []byte { return appendValue(nil, n, run, version, size) }
	write := func(n uint64, op Op, made bool, err error) error {
		e := l.entry(n)
		e.Lock()
		defer e.Unlock()
		version := e.issued.Add(1)
		if op == OpDelete {
			e.removed.Store(version)
		}
		return l.written(n, e, op, version, made, err)
	}
	e := l.entry(3)
	right("what was there", l.checkFound(3, e, 0, value(3, other, 77), scratch))
	wrong("another record's value", l.checkFound(3, e, 0, value(4, other, 77), scratch))
	wrong("a loaded record's absence", l.checkAbsent(3, e, 0))
	wrong("a version of the future", l.checkFound(3, e, 0, value(3, run, 1), scratch))
	wrong("an add over a record", write(3, OpAdd, true, nil))
	right("a set", write(3, OpSet, true, nil))
	wrong("a set that was lost", l.checkFound(3, e, 2, value(3, other, 77), scratch))
	right("a set", l.checkFound(3, e, 2, value(3, run, 2), scratch))
	wrong("an old version", l.checkFound(3, e, 2, value(3, run, 1), scratch))
	right("a read that began before it", l.checkFound(3, e, 1, value(3, run, 1), scratch))
	wrong("a modify that was refused", write(3, OpModify, false, nil))
	right("a delete", write(3, OpDelete, true, nil))
	right("a deleted record's absence", l.checkAbsent(3, e, e.acked.Load()))
	wrong("a modify of nothing", write(3, OpModify, true, nil))
	right("an add", write(3, OpAdd, false, nil)) // the wrong modify has made it
	wrong("absence after an add", l.checkAbsent(3, e, e.acked.Load()))
	right("a failure", write(3, OpSet, false, errors.New("gone")))
	right("anything after a failure", l.checkAbsent(3, e, 1))
	right("anything after a failure", l.checkFound(3, e, 9, value(3, run, 1), scratch))
	wrong("damage after a failure", l.checkFound(3, e, 9, value(3, run, 1)[:10], scratch))

	right("an insert under way", l.checkAbsent(11, l.entry(11), 0))
}
