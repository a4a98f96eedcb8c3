package kvtest

import (
	"context"
	"fmt"
	"math/rand/v2"

	"kivaloo/wire"
	"kivaloo/wire/wiretest"
)

const (
	// exerciseWindow is the most requests that Exercise has outstanding.
	exerciseWindow = 512

	// exerciseNewKeys is how many keys Exercise uses besides the existing ones.
	exerciseNewKeys = 1000
)

// Exercise makes random requests of all kinds to the server at addr, and checks every answer. The
// server must hold m and have no other client that changes it. Exercise updates m. Changes and
// reads are not in flight together, because what such a read sees is not determined.
func Exercise(ctx context.Context, addr string, m wiretest.Model, rnd *rand.Rand, requests int) error {
	c, err := Dial(ctx, addr)
	if err != nil {
		return err
	}
	defer c.Close()
	record, err := c.Ask(&wire.KVRequest{Type: wire.TypeParams})
	if err != nil {
		return err
	}
	maxKey, maxValue, err := wire.ParseKVParams(record)
	if err != nil {
		return err
	}
	keys := m.Keys()
	e := &exercise{
		conn:   c,
		model:  m,
		rnd:    rnd,
		source: NewSource(rnd, "", len(keys)+exerciseNewKeys, int(maxKey), int(maxValue), keys...),
	}
	for requests > 0 {
		n := min(requests, 1+rnd.IntN(exerciseWindow))
		requests -= n
		window := e.changes
		if rnd.IntN(3) == 0 {
			window = e.reads
		}
		if err := window(n); err != nil {
			return err
		}
	}
	return nil
}

type exercise struct {
	conn   *Conn
	model  wiretest.Model
	rnd    *rand.Rand
	source *Source
}

// changes makes n modifying requests. Their answers come in order.
func (e *exercise) changes(n int) error {
	requests, want := make([]wire.KVRequest, n), make([]uint32, n)
	first := e.conn.LastID + 1
	for i := range requests {
		requests[i] = e.source.Change(e.model)
		e.conn.Queue(&requests[i])
		want[i] = e.model.Apply(&requests[i])
	}
	if err := e.conn.Flush(); err != nil {
		return err
	}
	for i := range requests {
		p, err := e.conn.Next()
		if err != nil {
			return err
		}
		if p.ID != first+uint64(i) {
			return fmt.Errorf("answer to request %d instead of %d", p.ID, first+uint64(i))
		}
		r := &requests[i]
		if status, err := wire.ParseKVStatus(r.Type, p.Record); err != nil || status != want[i] {
			return fmt.Errorf("%s %q: status %d, %v; want %d", wire.TypeName(r.Type), r.Key, status, err, want[i])
		}
	}
	return nil
}

// reads makes n GETs and RANGEs. Their answers come in any order.
func (e *exercise) reads(n int) error {
	keys := e.model.Keys()
	outstanding := make(map[uint64]wire.KVRequest, n)
	for range n {
		r := wire.KVRequest{Type: wire.TypeGet, Key: []byte(e.source.Key())}
		if e.rnd.IntN(8) == 0 {
			r.Type = wire.TypeRange
			r.Max = 1 << e.rnd.IntN(14)
			r.Key, r.End = e.bound(), e.bound()
		}
		outstanding[e.conn.Queue(&r)] = r
	}
	if err := e.conn.Flush(); err != nil {
		return err
	}
	for range n {
		p, err := e.conn.Next()
		if err != nil {
			return err
		}
		r, ok := outstanding[p.ID]
		if !ok {
			return fmt.Errorf("answer to request %d, which is not outstanding", p.ID)
		}
		delete(outstanding, p.ID)
		if r.Type == wire.TypeRange {
			err = CheckRange(e.model, keys, &r, p.Record)
		} else {
			err = e.checkGet(&r, p.Record)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// bound returns a start or end for RANGE, often none.
func (e *exercise) bound() []byte {
	if e.rnd.IntN(4) == 0 {
		return []byte{}
	}
	return []byte(e.source.Key())
}

func (e *exercise) checkGet(r *wire.KVRequest, record []byte) error {
	want, present := e.model[string(r.Key)]
	value, found, err := wire.ParseKVValue(record)
	if err != nil || found != present || string(value) != want {
		return fmt.Errorf("GET %q: %q, %v, %v; want %q, %v", r.Key, value, found, err, want, present)
	}
	return nil
}
