package stress

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
)

// Records are numbered from 0. The key of record n has the number spread over the whole key space,
// so that records are inserted in random order. Spreading is one-to-one.
//
//	0      4                  20
//	+------+-------------------+
//	| user | mix64(n), in hex  |
//	+------+-------------------+
//
// A value shows its record, and can be checked byte for byte without knowing what was written.
// Integers are big-endian. The filling is computed from the rest.
//
//	0        8        16       20
//	+--------+--------+--------+-----------------+
//	|   n    |  run   |version |     filling     |
//	+--------+--------+--------+-----------------+
const (
	keyPrefix      = "user"
	recordKeyLen   = len(keyPrefix) + 16
	valueHeaderLen = 20
	// MinValueLen is the least length of a record's value, in bytes.
	MinValueLen = valueHeaderLen
)

// ErrVerify is wrapped by the findings of a verified load.
var ErrVerify = errors.New("verification failed")

func appendKey(dst []byte, n uint64) []byte { return appendKeyAt(dst, mix64(n)) }

// appendKeyAt appends the key at a place in the key space.
func appendKeyAt(dst []byte, place uint64) []byte {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], place)
	return hex.AppendEncode(append(dst, keyPrefix...), b[:])
}

// appendValue appends a value of size bytes, at least valueHeaderLen.
func appendValue(dst []byte, n, run uint64, version uint32, size int) []byte {
	end := len(dst) + size
	dst = binary.BigEndian.AppendUint64(dst, n)
	dst = binary.BigEndian.AppendUint64(dst, run)
	dst = binary.BigEndian.AppendUint32(dst, version)
	for state := n ^ run ^ uint64(version); len(dst) < end; {
		state = mix64(state)
		dst = binary.BigEndian.AppendUint64(dst, state)
	}
	return dst[:end]
}

// parseValue parses a value. scratch has room for a value.
func parseValue(value, scratch []byte) (n, run uint64, version uint32, err error) {
	if len(value) < valueHeaderLen {
		return 0, 0, 0, fmt.Errorf("%w: %x is not a value of a load", ErrVerify, value)
	}
	n = binary.BigEndian.Uint64(value)
	run = binary.BigEndian.Uint64(value[8:])
	version = binary.BigEndian.Uint32(value[16:])
	if !bytes.Equal(appendValue(scratch[:0], n, run, version, len(value)), value) {
		return 0, 0, 0, fmt.Errorf("%w: value %x is damaged", ErrVerify, value)
	}
	return n, run, version, nil
}

// keyspace is the records of a load, shared by all its goroutines.
//
// Records 0 to limit-1 have been written, by an earlier load or by this one. Inserts take numbers
// from next on, and are acknowledged in any order. limit advances when all before it have been.
type keyspace struct {
	loaded   uint64 // existing at the start
	next     atomic.Uint64
	limit    atomic.Uint64
	sequence atomic.Uint64 // for the sequential distribution

	mu    sync.Mutex
	acked map[uint64]struct{} // acknowledged and not below limit
}

func newKeyspace(records uint64) *keyspace {
	k := &keyspace{loaded: records, acked: make(map[uint64]struct{}, MaxWorkers)}
	k.next.Store(records)
	k.limit.Store(records)
	return k
}

// acknowledge records that record n has been inserted.
func (k *keyspace) acknowledge(n uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.acked[n] = struct{}{}
	limit := k.limit.Load()
	for {
		if _, ok := k.acked[limit]; !ok {
			break
		}
		delete(k.acked, limit)
		limit++
	}
	k.limit.Store(limit)
}

// ledger knows what each record may hold at any time.
//
// Versions of a record are written in order, one at a time, under its lock:
//  1. acked is the last version that was acknowledged; 0: what existed at the start.
//  2. issued is the last version that was sent, acked <= issued.
//  3. removed is the last version that was a deletion; 0: none.
//  4. unsure means that a write has failed with an unknown outcome. Then nothing is known any more.
//
// So a read must see one of the versions from acked at its start to issued at its end.
type ledger struct {
	run    uint64
	loaded uint64 // records that exist at the start
	index  *index // of the records that exist or may exist
	chunks [ledgerChunks]atomic.Pointer[[ledgerChunkLen]entry]
}

type entry struct {
	sync.Mutex
	acked, issued, removed atomic.Uint32
	unsure                 atomic.Bool
}

func newLedger(run, loaded uint64) *ledger {
	return &ledger{run: run, loaded: loaded, index: newIndex(loaded)}
}

// entry returns the entry of record n, which must be less than maxRecords.
func (l *ledger) entry(n uint64) *entry {
	p := &l.chunks[n/ledgerChunkLen]
	c := p.Load()
	if c == nil {
		c = new([ledgerChunkLen]entry)
		if !p.CompareAndSwap(nil, c) {
			c = p.Load()
		}
	}
	return &c[n%ledgerChunkLen]
}

// present reports whether record n exists. Its lock must be held.
func (l *ledger) present(n uint64, e *entry) bool {
	acked := e.acked.Load()
	if acked == 0 {
		return n < l.loaded
	}
	return e.removed.Load() != acked
}

// checkFound checks a value read from record n. from is acked when the read started.
func (l *ledger) checkFound(n uint64, e *entry, from uint32, value, scratch []byte) error {
	got, run, version, err := parseValue(value, scratch)
	switch {
	case err != nil:
		return err
	case got != n:
		return fmt.Errorf("%w: record %d has the value of record %d", ErrVerify, n, got)
	case e.unsure.Load():
		return nil
	case run != l.run && from > 0:
		return fmt.Errorf("%w: record %d has a value of another run, want version %d of this one", ErrVerify, n, from)
	case run == l.run && (version < from || version > e.issued.Load()):
		return fmt.Errorf("%w: record %d has version %d, want %d to %d", ErrVerify, n, version, from, e.issued.Load())
	}
	return nil
}

// checkAbsent checks that record n may be absent.
func (l *ledger) checkAbsent(n uint64, e *entry, from uint32) error {
	switch removed := e.removed.Load(); {
	case e.unsure.Load() || removed > 0 && removed >= from:
		return nil
	case from == 0 && n >= l.loaded: // its insert may be under way
		return nil
	}
	return fmt.Errorf("%w: record %d is absent, want version %d or later", ErrVerify, n, from)
}

// written records the outcome of a version of record n, whose lock is held. It checks whether the
// change should have been made.
func (l *ledger) written(n uint64, e *entry, op Op, version uint32, made bool, failed error) error {
	if failed != nil {
		e.unsure.Store(true)
		return nil
	}
	want := true
	switch op {
	case OpAdd:
		want = !l.present(n, e)
	case OpModify, OpCAS:
		want = l.present(n, e)
	}
	if made {
		e.acked.Store(version)
	}
	if made != want && !e.unsure.Load() {
		return fmt.Errorf("%w: %s of record %d was made: %t, want %t", ErrVerify, op, n, made, want)
	}
	return nil
}
