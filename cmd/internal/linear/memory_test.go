package linear

import (
	"context"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"kivaloo"

	"kivaloo/cmd/internal/daemon/daemontest"
)

// memory is the simplest possible store, and can have a fault. It stands for the real stores in
// tests of these tests.
type memory struct {
	fault fault

	mu         sync.Mutex
	pairs      map[string]string
	old, older map[string]string // the pairs up to lag calls ago, and lag calls before that
	calls      int
}

// fault is what is wrong with a memory.
type fault string

const (
	none         fault = ""
	staleReads   fault = "reads that lag behind"
	lostChanges  fault = "changes that are answered and not made"
	splitSwaps   fault = "swaps that look first and change later"
	tornRanges   fault = "ranges that read one key after the other"
	blindAdds    fault = "adds that do not look"
	tornBatches  fault = "batches that change one key after the other"
	movingViews  fault = "snapshots that do not stay as they were"
	blindBatches fault = "batches that do not look"
	forgetfulEnd fault = "a crash that undoes what was answered"
)

const (
	// often is how many calls there are for each that goes wrong.
	often = 3

	// lag is how many calls stale data is behind.
	lag = 50

	// pace is the least time of a call.
	pace = 100 * time.Microsecond
)

func newMemory(f fault) *memory {
	return &memory{fault: f, pairs: make(map[string]string), old: make(map[string]string), older: make(map[string]string)}
}

// begin enters the memory, and reports whether this call is to go wrong.
func (m *memory) begin(ctx context.Context, of fault) (wrong bool, err error) {
	if err := ctx.Err(); err != nil {
		return false, &kivaloo.OpError{Err: err}
	}
	time.Sleep(pace)
	m.mu.Lock()
	if m.calls++; m.calls%lag == 0 {
		m.old, m.older = maps.Clone(m.pairs), m.old
	}
	return m.fault == of && m.calls%often == 0, nil
}

func (m *memory) Get(ctx context.Context, key []byte) ([]byte, error) {
	wrong, err := m.begin(ctx, staleReads)
	if err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	pairs := m.pairs
	if wrong {
		pairs = m.old
	}
	if value, ok := pairs[string(key)]; ok {
		return []byte(value), nil
	}
	return nil, kivaloo.ErrNotFound
}

func (m *memory) Range(ctx context.Context, start, end []byte) iter.Seq2[kivaloo.Pair, error] {
	return func(yield func(kivaloo.Pair, error) bool) {
		wrong, err := m.begin(ctx, tornRanges)
		if err != nil {
			yield(kivaloo.Pair{}, err)
			return
		}
		pairs := maps.Clone(m.pairs)
		m.mu.Unlock()
		for _, key := range slices.Sorted(maps.Keys(pairs)) {
			if key < string(start) || key >= string(end) {
				continue
			}
			if wrong {
				time.Sleep(time.Millisecond)
				m.mu.Lock()
				pairs[key] = m.pairs[key]
				m.mu.Unlock()
			}
			if pairs[key] != absent && !yield(kivaloo.Pair{Key: []byte(key), Value: []byte(pairs[key])}, nil) {
				return
			}
		}
	}
}

// change sets the value of key if the present value is good.
func (m *memory) change(ctx context.Context, of fault, key []byte, value string, good func(string) bool) (bool, error) {
	wrong, err := m.begin(ctx, of)
	if err != nil {
		return false, err
	}
	defer m.mu.Unlock()
	made := good(m.pairs[string(key)])
	switch {
	case wrong && of == blindAdds:
		made = true
	case wrong && of == splitSwaps:
		m.mu.Unlock()
		time.Sleep(time.Millisecond)
		m.mu.Lock()
	}
	switch {
	case !made || wrong && of == lostChanges:
	case value == absent:
		delete(m.pairs, string(key))
	default:
		m.pairs[string(key)] = value
	}
	return made, nil
}

func always(string) bool          { return true }
func isAbsent(value string) bool  { return value == absent }
func isPresent(value string) bool { return value != absent }

// is returns a check for one value.
func is(old []byte) func(string) bool {
	return func(value string) bool { return value == string(old) }
}

func (m *memory) Set(ctx context.Context, key, value []byte) error {
	_, err := m.change(ctx, lostChanges, key, string(value), always)
	return err
}

func (m *memory) Add(ctx context.Context, key, value []byte) (bool, error) {
	return m.change(ctx, blindAdds, key, string(value), isAbsent)
}

func (m *memory) Modify(ctx context.Context, key, value []byte) (bool, error) {
	return m.change(ctx, lostChanges, key, string(value), isPresent)
}

func (m *memory) CompareAndSwap(ctx context.Context, key, old, value []byte) (bool, error) {
	return m.change(ctx, splitSwaps, key, string(value), is(old))
}

func (m *memory) Delete(ctx context.Context, key []byte) error {
	_, err := m.change(ctx, lostChanges, key, absent, always)
	return err
}

func (m *memory) CompareAndDelete(ctx context.Context, key, old []byte) (bool, error) {
	return m.change(ctx, splitSwaps, key, absent, is(old))
}

func (m *memory) view(ctx context.Context, keys [groupKeys][]byte) (all contents, err error) {
	wrong, err := m.begin(ctx, movingViews)
	if err != nil {
		return all, err
	}
	defer m.mu.Unlock()
	for i, key := range keys {
		all[i] = m.pairs[string(key)]
		if wrong {
			m.mu.Unlock()
			time.Sleep(time.Millisecond)
			m.mu.Lock()
		}
	}
	return all, nil
}

func (m *memory) swapGroup(ctx context.Context, keys [groupKeys][]byte, olds, values contents) (bool, error) {
	of := tornBatches
	if m.fault == blindBatches {
		of = blindBatches
	}
	wrong, err := m.begin(ctx, of)
	if err != nil {
		return false, err
	}
	defer m.mu.Unlock()
	for i, key := range keys {
		if m.pairs[string(key)] != olds[i] && !(wrong && of == blindBatches) {
			return false, nil
		}
	}
	for i, key := range keys {
		if wrong && of == tornBatches {
			m.mu.Unlock()
			time.Sleep(time.Millisecond)
			m.mu.Lock()
		}
		if values[i] == absent {
			delete(m.pairs, string(key))
		} else {
			m.pairs[string(key)] = values[i]
		}
	}
	return true, nil
}

func (m *memory) Close() error { return nil }

// start does nothing: clients of a memory do not notice its crashes.
func (m *memory) start(*testing.T) {}

func (m *memory) processes() []*daemontest.Daemon { return nil }

func (m *memory) client(*testing.T, int) store { return m }

func (m *memory) crash(*testing.T, *rand.Rand) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fault == forgetfulEnd {
		m.pairs = maps.Clone(m.older)
	}
}

// TestFaultsAreFound checks that a history on a faulty store is rejected, whatever the fault, and
// that one on a good store is accepted.
func TestFaultsAreFound(t *testing.T) {
	t.Parallel()
	for _, f := range []fault{none, staleReads, lostChanges, splitSwaps, tornRanges, blindAdds, tornBatches, movingViews, blindBatches, forgetfulEnd} {
		t.Run(string(f), func(t *testing.T) {
			t.Parallel()
			rnd, m, tb := daemontest.Seeded(t), newMemory(f), newTable("")
			playCrashes(t, m, rnd, tb)
			if err := tb.check(); (err == nil) != (f == none) {
				t.Errorf("%d operations, checked: %v", len(tb.operations), err)
			}
		})
	}
}
