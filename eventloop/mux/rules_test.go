package mux_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math"
	"net"
	"strings"
	"testing"
	"time"

	"kivaloo/eventloop/mux"
	"kivaloo/internal/must"
	"kivaloo/wire"
)

func TestParseAllowed(t *testing.T) {
	for _, c := range []struct{ list, want string }{
		{"get", "get"},
		{"params,range,get", "get,range,params"},
		{"get,get", "get"},
		{"get,set,range,params,cas,add,modify,delete,cad,apply,delete-range,get-at,scan,snapshot,release,watch,unwatch", mux.Everything.String()},
		{mux.Everything.String(), mux.Everything.String()},
	} {
		if got, err := mux.ParseAllowed(c.list); err != nil || got.String() != c.want {
			t.Errorf("%q: %s, %v; want %s", c.list, got, err, c.want)
		}
	}
	for _, list := range []string{"", "get,", "GET", "get range", "backup", "lbs_get", "unknown", "*"} {
		if got, err := mux.ParseAllowed(list); err == nil {
			t.Errorf("%q: %s, want an error", list, got)
		}
	}
}

func text(n int) []byte { return []byte(strings.Repeat("x", n)) }

// TestBadRequests checks that a request for which the target would close the connection only
// disconnects its client, with a log line. Others, and the target, must not notice.
func TestBadRequests(t *testing.T) {
	badSum := packet(1, get("a"))
	badSum[len(badSum)-1]++
	badHeader := packet(1, get("a"))[:wire.HeaderSize] // the rest need not arrive
	badHeader[3]++
	long := wire.AppendHeader(nil, 1, wire.MaxKVRequestLen+1)
	request := func(r wire.KVRequest) []byte { return packet(1, kv(r)) }
	for _, c := range []struct {
		name  string
		bytes []byte
		log   string
	}{
		{"header", badHeader, "header checksum"},
		{"record", badSum, "record checksum"},
		{"long record", long, "record too long"},
		{"empty record", packet(1, nil), "badly formed"},
		{"type", packet(1, []byte{0, 0, 0, 1}), "badly formed"},
		{"left over", packet(1, append(get("a"), 0)), "badly formed"},
		{"cut short", packet(1, get("a")[:5]), "badly formed"},
		{"key", request(wire.KVRequest{Type: wire.TypeSet, Key: text(65)}), "key of 65 bytes"},
		{"value", request(wire.KVRequest{Type: wire.TypeAdd, Value: text(105)}), "value of 105 bytes"},
		{"new value", request(wire.KVRequest{Type: wire.TypeCAS, Value: text(105)}), "value of 105 bytes"},
		{"modify", request(wire.KVRequest{Type: wire.TypeModify, Key: text(255)}), "key of 255 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, kvRules)
			a := r.source(mux.Source{Name: "door"})
			good, bad := dial(t, a), dial(t, a)
			good.Send(packet(1, get("good")))
			good1 := r.target.Expect(get("good"))
			bad.Send(packet(8, get("before")))
			before := r.target.Expect(get("before"))
			bad.Send(c.bytes)
			must.Eventually(t, "the log has it", func() bool { return r.log.count(c.log) == 1 && r.log.count("source=door") == 1 })
			r.target.Send(packet(before, []byte("owed")), packet(good1, []byte("good")))
			bad.ExpectAnswer(8, []byte("owed"))
			bad.ExpectEnd()
			good.ExpectAnswer(1, []byte("good"))
			good.Send(packet(2, get("after")))
			r.target.Send(packet(r.target.Expect(get("after")), nil))
			good.ExpectAnswer(2, nil)
		})
	}
}

// TestWhatIsOnlyLookedForCanBeLong checks that keys and values that are only looked for can be
// longer than what can be stored.
func TestWhatIsOnlyLookedForCanBeLong(t *testing.T) {
	r := newRig(t, kvRules)
	c := dial(t, r.source(mux.Source{}))
	for _, q := range []wire.KVRequest{
		{Type: wire.TypeGet, Key: text(255)},
		{Type: wire.TypeDelete, Key: text(255)},
		{Type: wire.TypeCAD, Key: text(255), Old: text(255)},
		{Type: wire.TypeRange, Key: text(255), End: text(255)},
		{Type: wire.TypeCAS, Key: text(64), Old: text(255), Value: text(104)},
	} {
		c.Send(packet(1, kv(q)))
		r.target.Expect(kv(q))
	}
}

// TestBlindness checks that without rules even records of no protocol are forwarded.
func TestBlindness(t *testing.T) {
	r := newRig(t, nil)
	c := dial(t, r.source(mux.Source{Allow: 0}))
	for _, record := range [][]byte{nil, {1}, []byte("\x00\x00\x01\x10 and more")} {
		c.Send(packet(1, record))
		r.target.Send(packet(r.target.Expect(record), record))
		c.ExpectAnswer(1, record)
	}
}

// TestLongRecordsThatNobodyLooksAt checks records that are not parsed. One that is too long for its
// type must be refused before it arrives; others of any length and type must pass.
func TestLongRecordsThatNobodyLooksAt(t *testing.T) {
	r := newRig(t, nil)
	r.echoing()
	a := r.source(mux.Source{})
	for _, test := range []struct {
		typ    uint32
		length uint32
		closed bool
	}{
		{typ: 0x12345678, length: 1_500_000_000, closed: true},
		{typ: wire.TypeGet, length: 1_500_000_000, closed: true},
		{typ: wire.TypeLBSGet, length: 100_000, closed: true},
		{typ: wire.TypeDDBPut, length: 300_000, closed: true},
		{typ: wire.TypeLBSAppend, length: math.MaxUint32},
		{typ: wire.TypeS3Put, length: 1_500_000_000},
		{typ: 0x12345678, length: 60_000},
	} {
		c := dial(t, a)
		c.Send(binary.BigEndian.AppendUint32(wire.AppendHeader(nil, 1, test.length), test.typ))
		if test.closed {
			c.ExpectEnd()
		} else {
			c.ExpectSilence()
		}
	}
}

func TestAllowedRequests(t *testing.T) {
	r := newRig(t, kvRules)
	allow, err := mux.ParseAllowed("get,range,params")
	must.Do(t, err)
	readers, writers := r.source(mux.Source{Name: "readers", Allow: allow}), r.source(mux.Source{})
	reader := dial(t, readers)
	for _, typ := range []uint32{wire.TypeGet, wire.TypeRange, wire.TypeParams} {
		record := kv(wire.KVRequest{Type: typ})
		reader.Send(packet(1, record))
		r.target.Send(packet(r.target.Expect(record), []byte("read")))
		reader.ExpectAnswer(1, []byte("read"))
	}
	changes := []uint32{wire.TypeSet, wire.TypeCAS, wire.TypeAdd, wire.TypeModify, wire.TypeDelete, wire.TypeCAD}
	for i, typ := range changes {
		record := kv(wire.KVRequest{Type: typ})
		c := dial(t, readers)
		c.Send(packet(1, record))
		c.ExpectEnd()
		must.Eventually(t, "the log has it", func() bool { return r.log.count("request refused") == i+1 })
		writer := dial(t, writers)
		writer.Send(packet(1, record))
		r.target.Expect(record)
	}
	if r.log.count("source=readers") != len(changes) {
		t.Error("the log does not say where the refused requests came from")
	}
	r.target.ExpectSilence()
}

// TestComplaintsAreFew checks that the log is bounded, so that clients cannot fill a disk.
func TestComplaintsAreFew(t *testing.T) {
	r := newRig(t, kvRules)
	a := r.source(mux.Source{})
	for range 3 * mux.Complaints {
		c := dial(t, a)
		c.Send(packet(1, nil))
		c.ExpectEnd()
	}
	if n := r.log.count("\n"); n != mux.Complaints {
		t.Errorf("%d lines in the log, want %d", n, mux.Complaints)
	}
}

func TestAskRules(t *testing.T) {
	params := func(maxKey, maxValue uint32) []byte { return wire.AppendKVParams(nil, maxKey, maxValue) }
	const asked = 0x0d0a50494e470d0a // "\r\nPING\r\n", to which others answer too
	badHeader := packet(asked, nil)[:wire.HeaderSize]
	badHeader[wire.HeaderSize-1]++
	for _, c := range []struct {
		name   string
		answer []byte // nil: the connection is closed
		want   mux.Rules
		says   string // part of the error
	}{
		{name: "limits", answer: packet(asked, params(64, 104)), want: mux.Rules{MaxKey: 64, MaxValue: 104}},
		{name: "none", answer: packet(asked, params(255, 1<<32-1)), want: mux.Rules{MaxKey: 255, MaxValue: 255}},
		{name: "extensions", answer: packet(asked, wire.AppendKVHello(nil, 64, 104, 7)), want: mux.Rules{MaxKey: 64, MaxValue: 104, Extensions: wire.Extensions1}},
		{name: "closed", says: "another protocol"},
		{name: "cut", answer: packet(asked, params(64, 104))[:20], says: "closed the connection"},
		{name: "ID", answer: packet(1, params(64, 104)), says: "not a kivaloo server"},
		{name: "HTTP", answer: []byte("HTTP/1.1 400 Bad Request\r\n"), says: "it speaks HTTP"},
		{name: "header", answer: badHeader, says: "header checksum"},
		{name: "long", answer: packet(asked, make([]byte, 13)), says: "record too long"},
		{name: "short", answer: packet(asked, make([]byte, 7)), says: "KVLDS_PARAMS"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ours, theirs := net.Pipe()
			server := newPeer(t, theirs)
			served := make(chan struct{})
			go func() {
				defer close(served)
				defer theirs.Close()
				p, err := server.Next()
				if err != nil || p.ID != asked || !bytes.Equal(p.Record, kv(wire.KVRequest{Type: wire.TypeParams})) {
					t.Errorf("request %d: %x, %v", p.ID, p.Record, err)
				}
				_, _ = theirs.Write(c.answer) // not all of it may be read
			}()
			defer func() {
				ours.Close()
				<-served
			}()
			rules, err := mux.AskRules(t.Context(), ours)
			switch {
			case c.says == "" && (err != nil || *rules != c.want):
				t.Errorf("got %+v, %v; want %+v", rules, err, c.want)
			case c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)):
				t.Errorf("got %+v, %v; want an error with %q", rules, err, c.says)
			}
		})
	}
}

// TestAskRulesOfAServerThatIsBusy checks that a target that does not answer is waited for, as long
// as the caller allows.
func TestAskRulesOfAServerThatIsBusy(t *testing.T) {
	ours, theirs := net.Pipe()
	defer ours.Close()
	server, served := newPeer(t, theirs), make(chan struct{})
	go func() {
		defer close(served)
		_, _ = server.Next() // takes the request
		_, _ = server.Next()
	}()
	defer func() {
		theirs.Close()
		<-served
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if rules, err := mux.AskRules(ctx, ours); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %+v, %v", rules, err)
	}
}
