package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"kivaloo/cmd/internal/blackbox/kvtest"
	"kivaloo/wire"
	"kivaloo/wire/wiretest"
)

const (
	crowd         = 10
	crowdRequests = 1000
	crowdWindow   = 100 // the most outstanding requests of one client
	crowdKeys     = 200
	crowdMaxBytes = 60 // the longest key or value
)

// TestCrowd has ten clients make a thousand mixed requests each and check every answer against a
// model of their own. Other such clients are killed at random. No answer may be lost or reach the
// wrong client.
func TestCrowd(t *testing.T) {
	t.Parallel()
	s := startStack(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	var clients sync.WaitGroup
	for i := range crowd {
		clients.Go(func() {
			rnd := rand.New(rand.NewPCG(seed, uint64(i)))
			for life := 0; ; life++ {
				// Each life uses its own keys, because any of a killed client's requests may have
				// been executed.
				m := newMember(rnd, fmt.Sprintf("%d.%d.", i, life))
				requests := crowdRequests
				if killed := life < 3; killed {
					requests, m.killed = rnd.IntN(crowdRequests), true
				}
				if err := m.live(t.Context(), s.socket(), requests); err != nil {
					t.Errorf("client %s: %v", m.prefix, err)
				}
				if !m.killed {
					return
				}
			}
		})
	}
	clients.Wait()
}

// member is one client of the crowd.
type member struct {
	prefix string
	rnd    *rand.Rand
	source *kvtest.Source
	model  wiretest.Model
	conn   *kvtest.Conn
	killed bool // before the answers to its last requests
}

func newMember(rnd *rand.Rand, prefix string) *member {
	return &member{
		prefix: prefix, rnd: rnd, model: make(wiretest.Model),
		source: kvtest.NewSource(rnd, prefix, crowdKeys, crowdMaxBytes, crowdMaxBytes),
	}
}

// live makes the given number of requests.
func (m *member) live(ctx context.Context, addr string, requests int) (err error) {
	if m.conn, err = kvtest.Dial(ctx, addr); err != nil {
		return err
	}
	defer m.conn.Close()
	for requests > 0 {
		n := min(requests, 1+m.rnd.IntN(crowdWindow))
		requests -= n
		last := m.killed && requests == 0
		if m.rnd.IntN(2) == 0 {
			err = m.change(n, last)
		} else {
			err = m.look(n, last)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// change makes n modifying requests at once.
func (m *member) change(n int, last bool) error {
	requests, want := make([]wire.KVRequest, n), make([]uint32, n)
	for i := range requests {
		requests[i] = m.source.Change(m.model)
		want[i] = m.model.Apply(&requests[i])
	}
	return m.ask(requests, last, func(i int, record []byte) error {
		if status, err := wire.ParseKVStatus(requests[i].Type, record); err != nil || status != want[i] {
			return fmt.Errorf("status %d, %v; want %d", status, err, want[i])
		}
		return nil
	})
}

// look makes n requests at once that modify nothing.
func (m *member) look(n int, last bool) error {
	keys := m.model.Keys()
	requests := make([]wire.KVRequest, n)
	for i := range requests {
		r := wire.KVRequest{Type: wire.TypeGet, Key: []byte(m.source.Key())}
		if m.rnd.IntN(8) == 0 {
			r = wire.KVRequest{Type: wire.TypeRange, Max: 1 << m.rnd.IntN(14), Key: r.Key, End: []byte(m.prefix + "\xff\xff")}
		}
		requests[i] = r
	}
	return m.ask(requests, last, func(i int, record []byte) error {
		r := &requests[i]
		if r.Type == wire.TypeRange {
			return kvtest.CheckRange(m.model, keys, r, record)
		}
		want, present := m.model[string(r.Key)]
		value, found, err := wire.ParseKVValue(record)
		if err != nil || found != present || string(value) != want {
			return fmt.Errorf("%q, %v, %v; want %q, %v", value, found, err, want, present)
		}
		return nil
	})
}

// ask makes requests at once and checks the answers. With last it waits for only some of them.
func (m *member) ask(requests []wire.KVRequest, last bool, check func(i int, record []byte) error) error {
	index := make(map[uint64]int)
	for i := range requests {
		index[m.conn.Queue(&requests[i])] = i
	}
	if err := m.conn.Flush(); err != nil {
		return err
	}
	answers := len(requests)
	if last {
		answers = m.rnd.IntN(answers)
	}
	for range answers {
		p, err := m.conn.Next()
		if err != nil {
			return err
		}
		i, ok := index[p.ID]
		if !ok {
			return fmt.Errorf("answer to request %d, which is not outstanding", p.ID)
		}
		delete(index, p.ID)
		if err := check(i, p.Record); err != nil {
			r := &requests[i]
			return fmt.Errorf("%s %q: %w", wire.TypeName(r.Type), r.Key, err)
		}
	}
	return nil
}
