//go:build !race

package kivaloo

import (
	"context"
	"net"
	"testing"

	"kivaloo/wire"
)

// TestAllocations checks that AppendGet allocates nothing and that Get allocates only the value,
// whether or not the context can be cancelled. The race detector makes pools drop items at random,
// so the test is left out there.
func TestAllocations(t *testing.T) {
	near, far := net.Pipe()
	go answerGets(far, []byte("a value of some bytes"))
	c := &Client{addr: "test", options: DialOptions{Window: 16}}
	c.use(newSession(near, c, Params{MaxLen, MaxLen}, false))
	defer c.Close()

	canEnd, cancel := context.WithCancel(context.Background())
	defer cancel()
	key, buf := []byte("key"), make([]byte, 0, 100)
	for name, ctx := range map[string]context.Context{"background": context.Background(), "can end": canEnd} {
		var err error
		if n := testing.AllocsPerRun(1000, func() { buf, err = c.AppendGet(ctx, buf[:0], key) }); n != 0 || err != nil {
			t.Errorf("%s: AppendGet allocates %v times, %v", name, n, err)
		}
		if n := testing.AllocsPerRun(1000, func() { _, err = c.Get(ctx, key) }); n != 1 || err != nil {
			t.Errorf("%s: Get allocates %v times, %v", name, n, err)
		}
	}
}

// answerGets answers every request on nc with value, without allocating.
func answerGets(nc net.Conn, value []byte) {
	defer nc.Close()
	in, out := make([]byte, 1024), make([]byte, 0, 1024)
	for {
		n, err := nc.Read(in) // one packet: the client has only one request at a time
		if err != nil {
			return
		}
		p, _, _, err := wire.Cut(in[:n], wire.MaxKVRequestLen)
		if err != nil {
			return
		}
		out = wire.Begin(out[:0], p.ID)
		out = wire.AppendKVValue(out, value)
		if _, err := nc.Write(wire.End(out, 0)); err != nil {
			return
		}
	}
}
