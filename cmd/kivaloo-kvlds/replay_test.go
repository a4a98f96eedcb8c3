package main

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"kivaloo/internal/must"
	"kivaloo/wire"
)

// exchange is a request and its answer, as sent between programs of the original.
type exchange struct {
	what            string
	request, answer []byte
}

func (e exchange) id() uint64 { return binary.BigEndian.Uint64(e.request) }

// captured reads the exchanges in a file of package wire.
func captured(t *testing.T, name string) []exchange {
	t.Helper()
	text, err := os.ReadFile("../../wire/testdata/kvlds-" + name + ".txt")
	must.Do(t, err)
	var found []exchange
	what := ""
	for line := range strings.Lines(string(text)) {
		kind, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		if kind == "#" {
			what = rest
			continue
		}
		packet, err := hex.DecodeString(rest)
		must.Do(t, err)
		if kind == ">" {
			found = append(found, exchange{what: name + ": " + what, request: packet})
		} else {
			found[len(found)-1].answer = packet
		}
	}
	return found
}

// replay makes the requests, one after the other, and compares the answers byte by byte.
func (c *client) replay(t *testing.T, exchanges []exchange) {
	t.Helper()
	for _, e := range exchanges {
		must.Do(t, c.Put(e.request))
		id, record, err := c.receive()
		if err != nil || !bytes.Equal(wire.AppendPacket(nil, id, record), e.answer) {
			t.Errorf("%s: answer to %d: %x, %v, want %x", e.what, id, record, err, e.answer)
		}
	}
}

// TestReplay replays the exchanges of the original's test program, which makes one request at a
// time. The files have its exchanges sorted by type. The requests missing in them only read.
func TestReplay(t *testing.T) {
	t.Parallel()
	for _, journal := range []string{"0", "1048576"} {
		t.Run("journal of "+journal, func(t *testing.T) {
			t.Parallel()
			replay(t, startStack(t, 512, "-v", "104", "--journal", journal).connect(t))
		})
	}
}

func replay(t *testing.T, c *client) {
	t.Helper()
	var all []exchange
	for _, name := range []string{"params", "set", "get", "add", "delete", "modify", "cas", "cad"} {
		all = append(all, captured(t, name)...)
	}
	slices.SortFunc(all, func(a, b exchange) int { return int(a.id()) - int(b.id()) })
	c.replay(t, all)

	for i := range uint64(10) {
		c.mustChange(t, set(string(binary.BigEndian.AppendUint64(nil, i)), string(rune('0'+i))), 0)
	}
	c.replay(t, captured(t, "range")[:1])
}

// TestReplayOfEdges replays what was tried by hand, each request in the state that its answer
// shows.
func TestReplayOfEdges(t *testing.T) {
	t.Parallel()
	c := startStack(t, 512, "-v", "104").connect(t)
	ranges := make(map[string]exchange)
	for _, e := range captured(t, "range")[1:] {
		what := strings.TrimPrefix(e.what, "range: RANGE ")
		if strings.HasPrefix(what, "[b,d)") || strings.Contains(what, "empty key") {
			e.answer = withoutLastPair(t, e.answer) // the original returns a key that equals the end
		}
		ranges[what[:5]] = e
	}
	if len(ranges) != 5 {
		t.Fatalf("ranges are %q", slices.Sorted(maps.Keys(ranges)))
	}
	c.mustSet(t, pair{"a", "v"}, pair{"b", "v"}, pair{"c", "v"}, pair{"d", "v"}, pair{"e", "v"})
	c.replay(t, []exchange{ranges["max=8"], ranges["[b,d)"], ranges["start"], ranges["max=0"]})
	c.replay(t, captured(t, "edge"))
	c.replay(t, []exchange{ranges[`"" ..`]})
}

// withoutLastPair removes the last pair from the answer to a RANGE.
func withoutLastPair(t *testing.T, packet []byte) []byte {
	t.Helper()
	p, _, _, err := wire.Cut(packet, uint32(len(packet)))
	must.Do(t, err)
	n, next, pairs, err := wire.ParseKVPairs(p.Record, 1000)
	must.Do(t, err)
	last, rest := pairs, pairs
	for len(rest) > 0 {
		last = rest
		_, _, rest, err = wire.CutPair(rest)
		must.Do(t, err)
	}
	return wire.AppendPacket(nil, p.ID, wire.AppendKVPairs(nil, n-1, next, pairs[:len(pairs)-len(last)]))
}
