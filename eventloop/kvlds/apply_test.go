package kvlds_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"kivaloo/internal/must"
	"kivaloo/wire"
	"kivaloo/wire/wiretest"
)

// applying returns an APPLY of conditions and changes: wire.Condition, wire.Change.
func applying(items ...any) wire.KVRequest {
	r := wire.KVRequest{Type: wire.TypeApply}
	for _, item := range items {
		switch item := item.(type) {
		case wire.Condition:
			r.Conditions.N++
			r.Conditions.Data = wire.AppendCondition(r.Conditions.Data, item)
		case wire.Change:
			r.Changes.N++
			r.Changes.Data = wire.AppendChange(r.Changes.Data, item)
		}
	}
	return r
}

func absent(key string) wire.Condition {
	return wire.Condition{Kind: wire.IfAbsent, Key: []byte(key)}
}

func present(key string) wire.Condition {
	return wire.Condition{Kind: wire.IfPresent, Key: []byte(key)}
}

func equals(key, value string) wire.Condition {
	return wire.Condition{Kind: wire.IfEquals, Key: []byte(key), Value: []byte(value)}
}

func setting(key, value string) wire.Change {
	return wire.Change{Key: []byte(key), Value: []byte(value)}
}

func deleting(key string) wire.Change { return wire.Change{Delete: true, Key: []byte(key)} }

func conflict(index uint32) []byte { return wire.AppendConflict(nil, index) }

// ask sends one request and returns the answer.
func ask(c *wiretest.Peer, r wire.KVRequest) []byte {
	c.T.Helper()
	c.Send(packets(77, r))
	id, record := c.Receive()
	if id != 77 {
		c.T.Fatalf("answer %d", id)
	}
	return record
}

// expectFailed checks that an answer has a status, wire.StatusFailed or wire.StatusRefused, and a
// reason.
func expectFailed(t testing.TB, answer []byte, status uint32, reason string) {
	t.Helper()
	var refused *wire.Refusal
	if err := wire.ParseDone(wire.TypeApply, answer); !errors.As(err, &refused) || refused.Status != status || !strings.Contains(refused.Reason, reason) {
		t.Fatalf("answer %q, want status %d with %q", answer, status, reason)
	}
}

func TestApply(t *testing.T) {
	c := serve(t, &slowStore{}).dial()
	for i, step := range []struct {
		request wire.KVRequest
		want    []byte
	}{
		{applying(), done},
		{applying(setting("a", "1"), setting("b", "2")), done},
		{get("a"), value("1")},
		{get("b"), value("2")},
		{applying(absent("c"), present("a"), equals("b", "2"), setting("c", "3"), deleting("a")), done},
		{get("a"), not},
		{get("c"), value("3")},
		// The first condition that does not hold counts, and nothing is changed.
		{applying(present("c"), absent("c"), present("a"), setting("c", "4"), setting("d", "5")), conflict(1)},
		{applying(equals("b", "3"), setting("c", "4")), conflict(0)},
		{applying(equals("b", ""), setting("c", "4")), conflict(0)},
		{applying(equals("a", ""), setting("c", "4")), conflict(0)},
		{applying(present("a"), setting("c", "4")), conflict(0)},
		{get("c"), value("3")},
		{get("d"), not},
		// Conditions apply to the state before.
		{applying(absent("x"), setting("x", "1"), setting("x", "2")), done},
		{get("x"), value("2")},
		{applying(equals("x", "2"), setting("x", "3"), deleting("x")), done},
		{get("x"), not},
		// Conditions alone, on keys of any length.
		{applying(absent("x"), equals("b", "2"), absent(strings.Repeat("k", 255))), done},
		{applying(absent("x"), equals("b", strings.Repeat("v", 255))), conflict(1)},
		{applying(setting("", ""), deleting("b"), deleting("never there")), done},
		{get(""), value("")},
		{get("b"), not},
	} {
		if got := ask(c, step.request); !bytes.Equal(got, step.want) {
			t.Fatalf("step %d: %q, want %q", i, got, step.want)
		}
	}
}

// TestApplyOfTooLongPairs checks that pairs that the store does not accept fail an APPLY as a
// whole, and that the connection stays open.
func TestApplyOfTooLongPairs(t *testing.T) {
	c := serve(t, &slowStore{}).dial()
	expectFailed(t, ask(c, applying(setting("a", "1"), setting(strings.Repeat("k", 65), "1"))), wire.StatusRefused, "key of 65 bytes, the longest allowed is 64")
	expectFailed(t, ask(c, applying(setting("a", "1"), setting("b", strings.Repeat("v", 105)))), wire.StatusRefused, "value of 105 bytes, the longest allowed is 104")
	if got := ask(c, get("a")); !bytes.Equal(got, not) {
		t.Errorf("a part of it was made: %q", got)
	}
	if got := ask(c, applying(deleting(strings.Repeat("k", 255)))); !bytes.Equal(got, done) {
		t.Errorf("deletion of what cannot be there: %q", got)
	}
}

// TestApplyInOrder checks that an APPLY keeps its place among the requests of its connection.
func TestApplyInOrder(t *testing.T) {
	c := serve(t, &slowStore{}).dial()
	add := wire.KVRequest{Type: wire.TypeAdd, Key: []byte("a"), Value: []byte("added")}
	c.Send(packets(0, set("a", "1"), applying(equals("a", "1"), setting("a", "2")),
		wire.KVRequest{Type: wire.TypeCAS, Key: []byte("a"), Old: []byte("2"), Value: []byte("3")},
		applying(equals("a", "3"), deleting("a")), add, applying(equals("a", "added"), setting("b", "5"))))
	for i := range uint64(6) {
		c.ExpectAnswer(i, done)
	}
	if got := ask(c, get("b")); !bytes.Equal(got, value("5")) {
		t.Errorf("%q", got)
	}
}

// longestApply returns an APPLY of about the greatest length. Every change is of another key.
func longestApply(v string) wire.KVRequest {
	r := wire.KVRequest{Type: wire.TypeApply}
	for {
		data := wire.AppendChange(r.Changes.Data, setting(fmt.Sprintf("%064d", r.Changes.N), v))
		if len(data)+12 > wire.MaxKVRequestLen || r.Changes.N == wire.MaxApplyItems {
			return r
		}
		r.Changes = wire.List{N: r.Changes.N + 1, Data: data}
	}
}

// TestLongestApplies checks that the longest APPLYs, many at a time from many clients, are each
// carried out completely.
func TestLongestApplies(t *testing.T) {
	s := serve(t, &slowStore{})
	s.loop.Post(func() { s.loop.LimitMemory(8 << 20) })
	var clients sync.WaitGroup
	for i := range 4 {
		c := s.dial()
		clients.Go(func() {
			v := strings.Repeat(fmt.Sprint(i), 100)
			r := longestApply(v)
			go c.Write(packets(0, r, r, r)) // ends with the connection
			for id := range uint64(3) {
				c.ExpectAnswer(id, done)
			}
		})
	}
	clients.Wait()
	c := s.dial()
	first := ask(c, get(fmt.Sprintf("%064d", 0)))
	last := ask(c, get(fmt.Sprintf("%064d", longestApply(strings.Repeat("x", 100)).Changes.N-1)))
	if !bytes.Equal(first, last) || len(first) != 4+1+100 {
		t.Errorf("parts of different ones: %q, %q", first, last)
	}
}

// TestAppliesOfManyClients checks that exactly one of several APPLYs whose conditions exclude each
// other is carried out.
func TestAppliesOfManyClients(t *testing.T) {
	s := serve(t, &slowStore{})
	const clients, rounds = 8, 30
	made := make(chan int, clients*rounds)
	var all sync.WaitGroup
	for range clients {
		c := s.dial()
		all.Go(func() {
			for round := range rounds {
				before, after := fmt.Sprint(round), fmt.Sprint(round+1)
				condition := equals("counter", before)
				if round == 0 {
					condition = absent("counter")
				}
				switch answer := ask(c, applying(condition, setting("counter", after))); {
				case bytes.Equal(answer, done):
					made <- round
				case !bytes.Equal(answer, conflict(0)):
					t.Errorf("%q", answer)
				}
				for { // until one has succeeded
					v, _, err := wire.ParseKVValue(ask(c, get("counter")))
					must.Do(t, err)
					if n := 0; func() bool { fmt.Sscan(string(v), &n); return n > round }() {
						break
					}
				}
			}
		})
	}
	all.Wait()
	close(made)
	times := map[int]int{}
	for round := range made {
		times[round]++
	}
	for round := range rounds {
		if times[round] != 1 {
			t.Errorf("round %d was made %d times", round, times[round])
		}
	}
}

// TestApplyOnBrokenDisk checks that an APPLY that cannot be made durable fails, and that the
// connection stays open.
func TestApplyOnBrokenDisk(t *testing.T) {
	s := serve(t, &slowStore{})
	c := s.dial()
	if got := ask(c, applying(setting("a", "1"))); !bytes.Equal(got, done) {
		t.Fatalf("%q", got)
	}
	s.store.fail.Store(true)
	expectFailed(t, ask(c, applying(setting("a", "2"))), wire.StatusFailed, "out of order")
	expectFailed(t, ask(c, applying(setting("a", "2"))), wire.StatusRefused, "read-only")
	if got := ask(c, get("a")); !bytes.Equal(got, value("1")) {
		t.Errorf("%q", got)
	}
}

func scanning(flags byte, max, limit uint32, start, end string) wire.KVRequest {
	return wire.KVRequest{Type: wire.TypeScan, Flags: flags, Max: max, Limit: limit, Key: []byte(start), End: []byte(end)}
}

func TestScan(t *testing.T) {
	c := serve(t, &slowStore{}).dial()
	for i := range 10 {
		c.Send(packets(1, set(fmt.Sprint(i), fmt.Sprint("v", i))))
		c.ExpectAnswer(1, done)
	}
	const (
		down  = wire.ScanReverse
		keys  = wire.ScanKeysOnly
		count = wire.ScanCountOnly
	)
	for _, step := range []struct {
		request wire.KVRequest
		n       uint64
		next    string
		pairs   string
	}{
		{scanning(0, 1000, 0, "7", ""), 3, "", "\x017\x02v7\x018\x02v8\x019\x02v9"},
		{scanning(0, 1000, 0, "2", "4"), 2, "", "\x012\x02v2\x013\x02v3"},
		{scanning(0, 10, 0, "2", "9"), 2, "4", "\x012\x02v2\x013\x02v3"},
		{scanning(0, 1000, 1, "2", "9"), 1, "3", "\x012\x02v2"},
		{scanning(0, 0, 0, "2", "9"), 1, "3", "\x012\x02v2"},
		{scanning(down, 1000, 2, "", ""), 2, "8", "\x019\x02v9\x018\x02v8"},
		{scanning(down, 1000, 0, "3", "5"), 2, "", "\x014\x02v4\x013\x02v3"},
		{scanning(down, 0, 0, "", "1"), 1, "", "\x010\x02v0"},
		{scanning(keys, 1000, 0, "8", ""), 2, "", "\x018\x019"},
		{scanning(keys|down, 4, 0, "", ""), 2, "8", "\x019\x018"},
		{scanning(count, 0, 0, "", ""), 10, "", ""},
		{scanning(count|down, 0, 0, "2", "5"), 3, "", ""},
		{scanning(0, 1000, 0, "x", ""), 0, "", ""},
		{scanning(0, 1000, 0, "5", "5"), 0, "", ""},
	} {
		a, err := wire.ParseScanned(ask(c, step.request), &step.request)
		if err != nil || a.N != step.n || string(a.Pairs) != step.pairs {
			t.Fatalf("%+v: %d, %q, %q, %v; want %d, %q, %q", step.request, a.N, a.Next, a.Pairs, err, step.n, step.next, step.pairs)
		}
		// A next key need not exist; only what is returned from there on counts.
		if len(a.Next) == 0 && step.next != "" {
			t.Errorf("%+v: nothing is left, want more", step.request)
		}
		if len(a.Next) > 0 {
			rest := step.request
			rest.Max, rest.Limit = 1000, 0
			if rest.Flags&down != 0 {
				rest.End = a.Next
			} else {
				rest.Key = a.Next
			}
			after, err := wire.ParseScanned(ask(c, rest), &rest)
			if err != nil || (after.N > 0) != (step.next != "") {
				t.Errorf("%+v: from %q on: %+v, %v", step.request, a.Next, after, err)
			}
		}
	}
}

// TestScansThatAreNotRead checks that unread SCANs are held back, as ranges are.
func TestScansThatAreNotRead(t *testing.T) {
	s := serve(t, &slowStore{})
	c := s.dial()
	var sets []wire.KVRequest
	for i := range 4000 {
		sets = append(sets, set(fmt.Sprintf("%064d", i), strings.Repeat("v", 104)))
	}
	c.Send(packets(0, sets...))
	for i := range sets {
		c.ExpectAnswer(uint64(i), done)
	}
	greedy := s.dial()
	scans := make([]wire.KVRequest, 60) // each of 680 kB
	for i := range scans {
		scans[i] = scanning(byte(i%2), 1<<32-1, 0, "", "")
	}
	greedy.Send(packets(0, scans...))
	c.Send(packets(1, get("nothing")))
	c.ExpectAnswer(1, not)
	for i := range scans {
		id, record := greedy.Receive()
		a, err := wire.ParseScanned(record, &scans[i])
		if id != uint64(i) || err != nil || a.N != 4000 || len(a.Next) != 0 {
			t.Fatalf("answer %d, want %d: %d pairs, next %q, %v", id, i, a.N, a.Next, err)
		}
	}
}
