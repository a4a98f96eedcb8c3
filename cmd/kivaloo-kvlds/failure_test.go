package main

import (
	"testing"
	"time"

	"kivaloo/internal/must"
	"kivaloo/wire"
)

// exitSoon is far more than the second after which an idle daemon notices that its block store has
// gone.
const exitSoon = 15 * time.Second

func TestBlockStoreDiesWhileNothingIsAskedOfIt(t *testing.T) {
	t.Parallel()
	for name, connected := range map[string]bool{"no client": false, "idle client": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t)
			blocks := p.startBlocks(t, 512)
			pr := p.foreground(t)
			if connected {
				p.connect(t).mustChange(t, set("k", "v"), 0)
			}
			blocks.Kill()
			died := time.Now()
			pr.mustFail(t, "block store at "+p.path("b"))
			if took := time.Since(died); took > exitSoon {
				t.Errorf("ended after %v", took)
			}
		})
	}
}

// writeFake returns a fake block store with some leaves. Its daemon has ended.
func writeFake(t *testing.T) *fakeBlocks {
	t.Helper()
	p := newPlace(t)
	f := p.startFake(t, 512)
	d := p.start(t)
	var pairs []pair
	for i := range 100 {
		pairs = append(pairs, pair{number(i), "value"})
	}
	p.connectOnce(t, func(c *client) { c.mustSet(t, pairs...) })
	p.end(t, d)
	return f
}

// TestBlockStoreFails makes the block store give wrong answers to requests of one type. The daemon
// makes such requests for a client or, in the case of FREE, by itself.
func TestBlockStoreFails(t *testing.T) {
	t.Parallel()
	refuse := func(*wire.LBSRequest) []byte { return wire.AppendLBSStatus(nil, 1) }
	rubbish := func(*wire.LBSRequest) []byte { return []byte{7} }
	zeros := func(*wire.LBSRequest) []byte { return wire.AppendLBSBlock(nil, make([]byte, 512)) }
	written := writeFake(t)
	for name, test := range map[string]struct {
		ask    wire.KVRequest
		typ    uint32
		answer func(q *wire.LBSRequest) []byte
		says   string
	}{
		"append refused":           {set("k", "v"), wire.TypeLBSAppend, refuse, "refused"},
		"append answered wrongly":  {set("k", "v"), wire.TypeLBSAppend, rubbish, "APPEND"},
		"page that does not exist": {get("k"), wire.TypeLBSGet, refuse, "does not exist"},
		"page of zeros":            {get("k"), wire.TypeLBSGet, zeros, "not a page"},
		"page of another length":   {get("k"), wire.TypeLBSGet, rubbish, "GET"},
		"free refused":             {wire.KVRequest{}, wire.TypeLBSFree, refuse, "FREE"},
		"free answered wrongly":    {wire.KVRequest{}, wire.TypeLBSFree, rubbish, "FREE"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t)
			f := p.startFake(t, 512)
			f.fill(written)
			pr := p.foreground(t, "-S", "0") // only the root is in its cache
			f.look(func() {
				f.answer = func(q *wire.LBSRequest) []byte {
					if q.Type == test.typ {
						return test.answer(q)
					}
					return nil
				}
			})
			if test.ask.Type != 0 {
				c := p.connect(t)
				must.Do(t, c.send(test.ask))
				must.Do(t, c.Closed())
			}
			pr.mustFail(t, test.says)
		})
	}
}

// TestBlockStoreAnswersWhatWasNotAsked checks an answer with an unknown ID: the connection is no
// longer usable.
func TestBlockStoreAnswersWhatWasNotAsked(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	f := p.startFake(t, 512)
	pr := p.foreground(t)
	f.look(func() { f.skew = 1 << 40 })
	pr.mustFail(t, "not outstanding")
}

func TestBlockStoreIsLostDuringAnAppend(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	f := p.startFake(t, 512)
	pr := p.foreground(t)
	c := p.connect(t)
	f.hold(true)
	before := f.count()
	must.Do(t, c.send(set("k", "v")))
	f.mustSee(t, before+1)
	f.cut()
	must.Do(t, c.Closed())
	pr.mustFail(t, "block store at "+p.path("b"))
}

// TestBlockStoreFailsAtTheStart checks that the start command reports errors of the start.
func TestBlockStoreFailsAtTheStart(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		size   int
		typ    uint32
		answer []byte
		says   string
	}{
		"first append refused":   {512, wire.TypeLBSAppend, wire.AppendLBSStatus(nil, 1), "refused"},
		"parameters too short":   {512, wire.TypeLBSParams2, wire.AppendLBSParams(nil, 512, 0), "parameters"},
		"block size too small":   {512, wire.TypeLBSParams2, wire.AppendLBSParams2(nil, 511, 0, 1<<64-1), "block size 511"},
		"block size too large":   {512, wire.TypeLBSParams2, wire.AppendLBSParams2(nil, 131073, 0, 1<<64-1), "block size 131073"},
		"blocks but no root":     {512, wire.TypeLBSParams2, wire.AppendLBSParams2(nil, 512, 20, 19), "no root"},
		"next block but no last": {512, wire.TypeLBSParams2, wire.AppendLBSParams2(nil, 512, 20, 1<<64-1), "no root"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t)
			f := p.startFake(t, test.size)
			f.look(func() {
				f.answer = func(q *wire.LBSRequest) []byte {
					if q.Type == test.typ {
						return test.answer
					}
					return nil
				}
			})
			r := p.run(t, p.args()...)
			mustRefuse(t, r, test.says)
			p.mustHaveSocket(t)
			if !absent(p.path("s.pid")) {
				t.Error("it has left a pid file")
			}
		})
	}
}
