package kvtest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"kivaloo/wire"
)

// Apply returns an APPLY with conditions and changes.
func Apply(conditions []wire.Condition, changes ...wire.Change) wire.KVRequest {
	r := wire.KVRequest{Type: wire.TypeApply}
	for _, c := range conditions {
		r.Conditions = wire.List{N: r.Conditions.N + 1, Data: wire.AppendCondition(r.Conditions.Data, c)}
	}
	for _, c := range changes {
		r.Changes = wire.List{N: r.Changes.N + 1, Data: wire.AppendChange(r.Changes.Data, c)}
	}
	return r
}

// Put returns a change that sets a key.
func Put(key, value string) wire.Change { return wire.Change{Key: []byte(key), Value: []byte(value)} }

// Drop returns a change that deletes a key.
func Drop(key string) wire.Change { return wire.Change{Key: []byte(key), Delete: true} }

// If returns a condition on a key: wire.IfAbsent, wire.IfPresent, or wire.IfEquals with a value.
func If(kind byte, key, value string) wire.Condition {
	c := wire.Condition{Kind: kind, Key: []byte(key)}
	if kind == wire.IfEquals {
		c.Value = []byte(value)
	}
	return c
}

// Extensions makes extension requests of every type to the server at addr, which must offer them,
// and checks the answers against docs/wire.md. The store must be empty, and is empty again
// afterwards.
func Extensions(ctx context.Context, addr string) error {
	c, err := Dial(ctx, addr)
	if err != nil {
		return err
	}
	defer c.Close()
	x := &extensionsTest{c: c}
	for _, part := range []func(){x.hello, x.apply, x.scan, x.snapshot, x.watch, x.deleteRange} {
		if part(); x.err != nil {
			return x.err
		}
	}
	return nil
}

// extensionsTest makes one request after the other, until an answer is wrong.
type extensionsTest struct {
	c      *Conn
	maxKey uint32 // of the store, in bytes
	err    error  // for the first wrong answer
}

// answer returns the answer to r.
func (x *extensionsTest) answer(r wire.KVRequest) []byte {
	if x.err != nil {
		return nil
	}
	record, err := x.c.Ask(&r)
	if err != nil {
		x.err = fmt.Errorf("%s: %w", wire.TypeName(r.Type), err)
	}
	return record
}

// want makes a request and compares its answer.
func (x *extensionsTest) want(answer []byte, r wire.KVRequest) {
	if got := x.answer(r); x.err == nil && !bytes.Equal(got, answer) {
		x.err = fmt.Errorf("%s %q: %q, want %q", wire.TypeName(r.Type), wire.AppendKVRequest(nil, &r), got, answer)
	}
}

// note keeps an error with its context.
func (x *extensionsTest) note(err error, format string, args ...any) {
	if x.err == nil && err != nil {
		x.err = fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), err)
	}
}

// must records an error unless so is true.
func (x *extensionsTest) must(so bool, format string, args ...any) {
	if x.err == nil && !so {
		x.err = fmt.Errorf(format, args...)
	}
}

var (
	done = wire.AppendKVStatus(nil, wire.StatusDone)
	no   = wire.AppendKVStatus(nil, wire.StatusNo)
	gone = wire.AppendRefusal(nil, wire.StatusGone, "")
)

func value(s string) []byte { return wire.AppendKVValue(nil, []byte(s)) }

func get(key string) wire.KVRequest { return wire.KVRequest{Type: wire.TypeGet, Key: []byte(key)} }

// hello checks that the third number comes with the ID of a first request, and with no other.
func (x *extensionsTest) hello() {
	params := wire.KVRequest{Type: wire.TypeParams}
	usual := x.answer(params)
	x.must(len(usual) == 8, "PARAMS: %x", usual)
	x.c.LastID = wire.HelloID - 1
	hello := x.answer(params)
	x.must(bytes.Equal(hello, binary.BigEndian.AppendUint32(usual, wire.Extensions1)), "PARAMS as first request: %x", hello)
	var err error
	x.maxKey, _, _, err = wire.ParseKVHello(hello)
	x.note(err, "PARAMS")
}

func (x *extensionsTest) apply() {
	x.want(done, Apply(nil))
	x.want(done, Apply(nil, Put("a", "1"), Put("b", "2")))
	x.want(value("1"), get("a"))
	all := []wire.Condition{If(wire.IfAbsent, "c", ""), If(wire.IfPresent, "a", ""), If(wire.IfEquals, "b", "2")}
	x.want(done, Apply(all, Put("c", "3"), Drop("a")))
	x.want(no, get("a"))
	x.want(value("3"), get("c"))
	x.want(wire.AppendConflict(nil, 0), Apply(all, Put("c", "4"), Put("d", "5")))
	x.want(wire.AppendConflict(nil, 1), Apply(append(all[2:], all...), Put("c", "4"), Put("d", "5")))
	x.want(wire.AppendConflict(nil, 0), Apply([]wire.Condition{If(wire.IfEquals, "b", "")}, Drop("b")))
	x.want(value("3"), get("c"))
	x.want(no, get("d"))
	x.want(value("2"), get("b"))
	x.want(done, Apply(nil, Put("d", "x"), Put("d", "y"), Put("e", "z"), Drop("e")))
	x.want(value("y"), get("d"))
	x.want(no, get("e"))
	long := string(make([]byte, wire.MaxKeyLen))
	if x.maxKey < wire.MaxKeyLen {
		x.refused(wire.StatusRefused, Apply(nil, Put("d", "z"), Put(long, "z")))
	}
	x.want(value("y"), get("d"))
	x.want(done, Apply([]wire.Condition{If(wire.IfAbsent, long, "")}, Drop(long)))
	x.want(done, Apply(nil, Drop("b"), Drop("c"), Drop("d")))
}

// refused makes a request that must be refused.
func (x *extensionsTest) refused(status uint32, r wire.KVRequest) {
	answer := x.answer(r)
	x.must(len(answer) >= 4 && binary.BigEndian.Uint32(answer) == status, "%s: %q, want status %d", wire.TypeName(r.Type), answer, status)
}

// scanRequest returns a SCAN of everything, as far as max allows.
func scanRequest(snapshot uint64, flags byte, max uint32) wire.KVRequest {
	return wire.KVRequest{Type: wire.TypeScan, Snapshot: snapshot, Flags: flags, Max: max}
}

// scanAll reads the whole range of r with as many requests as necessary.
func (x *extensionsTest) scanAll(r wire.KVRequest) (n uint64, pairs []byte) {
	for requests := 0; x.err == nil; requests++ {
		a, err := wire.ParseScanned(x.answer(r), &r)
		x.note(err, "SCAN")
		x.must(requests < 10_000, "a SCAN has no end")
		n, pairs = n+a.N, append(pairs, a.Pairs...)
		switch {
		case len(a.Next) == 0:
			return n, pairs
		case r.Flags&wire.ScanReverse == 0:
			r.Key = bytes.Clone(a.Next)
		default:
			r.End = bytes.Clone(a.Next)
		}
	}
	return 0, nil
}

const scanPairs = 300

func (x *extensionsTest) scan() {
	var up, down, keys []byte
	for i := range scanPairs {
		k, v := fmt.Sprintf("k%06d", i), fmt.Sprintf("v%06d", i)
		x.want(done, wire.KVRequest{Type: wire.TypeSet, Key: []byte(k), Value: []byte(v)})
		pair := fmt.Appendf(nil, "\x07%s\x07%s", k, v)
		up, down = append(up, pair...), append(pair, down...)
		keys = fmt.Appendf(keys, "\x07%s", k)
	}
	for _, max := range []uint32{0, 100, 1 << 20} {
		n, pairs := x.scanAll(scanRequest(0, 0, max))
		x.must(n == scanPairs && bytes.Equal(pairs, up), "SCAN, %d bytes: %d pairs, %.100q", max, n, pairs)
		n, pairs = x.scanAll(scanRequest(0, wire.ScanReverse, max))
		x.must(n == scanPairs && bytes.Equal(pairs, down), "SCAN in reverse, %d bytes: %d pairs, %.100q", max, n, pairs)
		n, pairs = x.scanAll(scanRequest(0, wire.ScanKeysOnly, max))
		x.must(n == scanPairs && bytes.Equal(pairs, keys), "SCAN of keys, %d bytes: %d pairs, %.100q", max, n, pairs)
	}
	part := scanRequest(0, wire.ScanCountOnly, 0)
	part.Key, part.End = []byte("k000100"), []byte("k0002")
	n, pairs := x.scanAll(part)
	x.must(n == 100 && len(pairs) == 0, "a count: %d, %q", n, pairs)
	part.Limit, part.Flags, part.Max = 2, wire.ScanReverse, 1000
	a, err := wire.ParseScanned(x.answer(part), &part)
	x.note(err, "SCAN")
	x.must(string(a.Pairs) == "\x07k000199\x07v000199\x07k000198\x07v000198", "SCAN of two pairs: %q", a.Pairs)
}

func (x *extensionsTest) snapshot() {
	id, err := wire.ParseSnapshot(x.answer(wire.KVRequest{Type: wire.TypeSnapshot}))
	x.note(err, "SNAPSHOT")
	getAt := func(id uint64, key string) wire.KVRequest {
		return wire.KVRequest{Type: wire.TypeGetAt, Snapshot: id, Key: []byte(key)}
	}
	x.want(done, Apply(nil, Drop("k000000"), Put("k000001", "new"), Put("new", "new")))
	x.want(value("v000000"), getAt(id, "k000000"))
	x.want(value("v000001"), getAt(id, "k000001"))
	x.want(no, getAt(id, "new"))
	x.want(value("new"), get("new"))
	for _, flags := range []byte{0, wire.ScanReverse, wire.ScanKeysOnly, wire.ScanCountOnly} {
		n, _ := x.scanAll(scanRequest(id, flags, 1000))
		x.must(n == scanPairs, "SCAN of a snapshot, flags %d: %d pairs", flags, n)
	}
	x.want(gone, getAt(id+1, "new"))
	x.want(gone, getAt(0, "new"))
	x.want(gone, scanRequest(id+1, 0, 1000))
	x.want(done, wire.KVRequest{Type: wire.TypeRelease, Snapshot: id})
	x.want(gone, wire.KVRequest{Type: wire.TypeRelease, Snapshot: id})
	x.want(gone, getAt(id, "k000000"))
	x.want(gone, scanRequest(id, 0, 1000))
	// At most 64 leases are possible at a time.
	var taken []uint64
	for i := range 64 {
		x.want(done, Apply(nil, Put("new", fmt.Sprint(i))))
		id, err := wire.ParseSnapshot(x.answer(wire.KVRequest{Type: wire.TypeSnapshot}))
		x.note(err, "SNAPSHOT %d", i)
		taken = append(taken, id)
	}
	x.want(done, Apply(nil, Put("new", "newest")))
	var refusal *wire.Refusal
	_, err = wire.ParseSnapshot(x.answer(wire.KVRequest{Type: wire.TypeSnapshot}))
	x.must(errors.As(err, &refusal) && refusal.Status == wire.StatusTooMany && strings.Contains(refusal.Reason, "64"), "the 65th SNAPSHOT: %v", err)
	for i, id := range taken {
		x.want(value(fmt.Sprint(i)), getAt(id, "new"))
		x.want(done, wire.KVRequest{Type: wire.TypeRelease, Snapshot: id})
	}
}

// deleteRange deletes everything.
func (x *extensionsTest) deleteRange() {
	deleted := func(max uint32, start, end string) wire.Deleted {
		a, err := wire.ParseDeleted(x.answer(wire.KVRequest{Type: wire.TypeDeleteRange, Max: max, Key: []byte(start), End: []byte(end)}))
		x.note(err, "DELETE_RANGE")
		return a
	}
	a := deleted(1000, "k000100", "k0002")
	x.must(a.N == 100 && len(a.Next) == 0, "DELETE_RANGE of 100 keys: %+v", a)
	a = deleted(10, "k", "l")
	x.must(a.N == 10 && len(a.Next) > 0, "DELETE_RANGE of 10 keys: %+v", a)
	a = deleted(0, "", "")
	n, _ := x.scanAll(scanRequest(0, wire.ScanCountOnly, 0))
	x.must(a.N > 100 && len(a.Next) == 0 && n == 0, "DELETE_RANGE of all: %+v; %d are left", a, n)

	// Sent together, changes happen in the order in which they were sent.
	all := wire.KVRequest{Type: wire.TypeDeleteRange}
	set := wire.KVRequest{Type: wire.TypeSet, Key: []byte("k")}
	add := wire.KVRequest{Type: wire.TypeAdd, Key: []byte("k")}
	var ids []uint64
	for _, r := range []wire.KVRequest{set, all, all, add, all} {
		ids = append(ids, x.c.Queue(&r))
	}
	x.note(x.c.Flush(), "DELETE_RANGE")
	answers := x.next(len(ids))
	one, none := wire.AppendDeleted(nil, wire.Deleted{N: 1}), wire.AppendDeleted(nil, wire.Deleted{})
	for i, want := range [][]byte{done, one, none, done, one} {
		x.must(bytes.Equal(answers[ids[i]], want), "answer %d of SET, 2 DELETE_RANGE, ADD, DELETE_RANGE is %q, want %q", i, answers[ids[i]], want)
	}
}

// watch checks that what is committed after a position comes in order, also to a WATCH that waits.
// Meanwhile other requests on its connection must be answered.
func (x *extensionsTest) watch() {
	request := func(position uint64, wait uint32) wire.KVRequest {
		return wire.KVRequest{Type: wire.TypeWatch, Position: position, Wait: wait, Max: 4096, Key: []byte("w"), End: []byte("x")}
	}
	watched := func(answer []byte) wire.Watched {
		a, err := wire.ParseWatched(answer, 4096)
		x.note(err, "WATCH")
		return a
	}
	start := watched(x.answer(request(0, 0)))
	x.must(start.Changes.N == 0, "WATCH from now on: %+v", start)
	x.want(done, Apply(nil, Put("w1", "1"), Put("v", "1"), Put("w2", "2")))
	x.want(done, Apply(nil, Drop("w1"), Drop("v"), Put("w3", "3")))
	a := watched(x.answer(request(start.Position, 60_000)))
	var want []byte
	between := uint64(0) // the position between the two commits
	for i, rest := 0, a.Changes.Data; len(rest) > 0; i++ {
		var c wire.Change
		if c, rest, _ = wire.CutChange(rest); i == 1 {
			between = c.Position
		}
	}
	for i, c := range []wire.Change{Put("w1", "1"), Put("w2", "2"), Drop("w1"), Put("w3", "3")} {
		if i == 1 {
			c.Position = between
		}
		want = wire.AppendChange(want, c)
	}
	x.must(bytes.Equal(a.Changes.Data, want), "WATCH: %q, want %q", a.Changes.Data, want)
	second := watched(x.answer(request(between, 0)))
	want = wire.AppendChange(wire.AppendChange(nil, Drop("w1")), Put("w3", "3"))
	x.must(bytes.Equal(second.Changes.Data, want), "WATCH from the position %d between two commits: %q, want %q", between, second.Changes.Data, want)
	after := watched(x.answer(request(a.Position, 10)))
	x.must(after.Changes.N == 0, "WATCH of nothing: %+v", after)
	x.want(gone, request(a.Position+1_000_000, 0))
	if x.err != nil {
		return
	}
	// This one waits, and is answered while another request is.
	r := request(after.Position, 60_000)
	waits := x.c.Queue(&r)
	x.note(x.c.Flush(), "WATCH")
	x.want(no, get("w1"))
	r = Apply(nil, Drop("w2"), Drop("w3"))
	applied := x.c.Queue(&r)
	x.note(x.c.Flush(), "APPLY")
	answers := x.next(2)
	want = wire.AppendChange(wire.AppendChange(nil, Drop("w2")), Drop("w3"))
	a = watched(answers[waits])
	x.must(bytes.Equal(a.Changes.Data, want) && bytes.Equal(answers[applied], done), "WATCH that waits: %v, want %q", answers, want)
	// This one is ended.
	r = request(a.Position, 60_000)
	waits = x.c.Queue(&r)
	end := wire.KVRequest{Type: wire.TypeUnwatch, Watch: waits}
	ended := x.c.Queue(&end)
	x.note(x.c.Flush(), "UNWATCH")
	answers = x.next(2)
	a = watched(answers[waits])
	x.must(a.Changes.N == 0 && bytes.Equal(answers[ended], done), "UNWATCH: %v", answers)
	x.want(done, end)
}

// next returns the next n answers, by request ID.
func (x *extensionsTest) next(n int) map[uint64][]byte {
	answers := make(map[uint64][]byte)
	for range n {
		if x.err != nil {
			break
		}
		p, err := x.c.Next()
		x.note(err, "answers %v", answers)
		answers[p.ID] = p.Record
	}
	return answers
}
