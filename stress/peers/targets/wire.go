package targets

import (
	"context"
	"errors"
	"time"

	"kivaloo/stress"
)

// starter starts servers on a new store.
type starter func(ctx context.Context, args ...string) (*store, error)

// blockSize is serve's default. kivaloo-lbs has no default.
const blockSize = 2048

// wireRows are the measurements of a store over a socket.
type wireRows struct {
	load, get, hotspot, scan, set, mix, update *Row
}

// wireFactors are the multiples of the yardstick that wireRows have to reach.
type wireFactors struct{ load, get, hotspot, scan, set, mix, update float64 }

// The targets of serve, and of the separate daemons.
var (
	serveFactors   = wireFactors{load: 3.2, get: 1.73, hotspot: 2.65, scan: 9.5, set: 2, mix: 2.5, update: 3.2}
	daemonsFactors = wireFactors{load: 2, get: 0.84, hotspot: 0.9, scan: 2.4, set: 1.4, mix: 1.8, update: 2}
)

func newWireRows(prefix string, f wireFactors) *wireRows {
	row := func(name string, factor float64, yardstick string) *Row {
		return &Row{Name: prefix + name, Target: Target{Factor: factor, Yardstick: yardstick, Unit: PerSecond}}
	}
	return &wireRows{
		get:     row("random GET", f.get, redisGet),
		hotspot: row("hot-spot GET", f.hotspot, redisGet),
		set:     row("random durable SET", f.set, redisSet),
		mix:     row("50/50 mix", f.mix, redisSet),
		load:    row("ordered load", f.load, redisSet),
		update:  row("ordered update", f.update, redisSet),
		scan:    row("full scan, pairs", f.scan, redisGet),
	}
}

func (w *wireRows) all() []*Row {
	return []*Row{w.get, w.hotspot, w.set, w.mix, w.load, w.update, w.scan}
}

// Wire measures servers in comparison with Redis.
func Wire() []Stage {
	return []Stage{wireStage(), rangeStage(), largeStage()}
}

// wireStage measures `kivaloo serve`, and the two daemons in its place. Each round has new stores.
func wireStage() Stage {
	one, two := newWireRows("", serveFactors), newWireRows("lbs+kvlds: ", daemonsFactors)
	return Stage{
		Rows:  append(one.all(), two.all()...),
		Redis: true,
		Run: func(ctx context.Context, b *Bench) error {
			b.FirstPairs(b.Pairs)
			for round := range b.Rounds {
				y, err := b.askRedis(ctx)
				if err != nil {
					return err
				}
				for _, side := range []struct {
					rows  *wireRows
					start starter
				}{{one, b.serve}, {two, b.daemons}} {
					if !b.wantsAny(side.rows.all()) {
						continue
					}
					if err := b.wireRound(ctx, side.rows, side.start, y, round); err != nil {
						return err
					}
				}
			}
			return nil
		},
	}
}

// wireRound measures a new store. The first measurement fills it. Reads come next, while all values
// are known to the last byte.
func (b *Bench) wireRound(ctx context.Context, rows *wireRows, start starter, y yardsticks, round int) (err error) {
	s, err := start(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	pairs := b.FirstPairs(b.Pairs)
	m := measuring{b, s, y, min(warmTime, b.Time), round}
	for _, step := range []func() error{
		func() error { return m.load(ctx, rows.load, pairs) },
		func() error { return m.drive(ctx, rows.get, randomGets(pairs)) },
		func() error {
			return m.drive(ctx, rows.hotspot, func(n int, seed uint64) stress.Workload { return stress.HotspotGet(b.Pairs, uint64(n), seed) })
		},
		func() error { return m.scan(ctx, rows.scan) },
		func() error {
			return m.drive(ctx, rows.set, func(n int, seed uint64) stress.Workload { return stress.RandomSet(pairs, n, seed) })
		},
		func() error { return m.drive(ctx, rows.mix, randomMix(pairs, 2)) },
		func() error {
			// Like an ordered load, this has no warm-up.
			return m.once(ctx, rows.update, stress.Within(stress.OrderedUpdate(pairs, byte(round+1)), m.Time))
		},
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// maker makes a workload of n random requests.
type maker func(n int, seed uint64) stress.Workload

func randomGets(pairs []stress.Pair) maker {
	return func(n int, seed uint64) stress.Workload { return stress.RandomGet(pairs, n, seed) }
}

// randomMix puts this many SETs among each four requests.
func randomMix(pairs []stress.Pair, sets int) maker {
	return func(n int, seed uint64) stress.Workload { return stress.RandomMixed(pairs, n, seed, sets) }
}

// measuring is one round on one store.
type measuring struct {
	*Bench
	store *store
	y     yardsticks
	warm  time.Duration
	round int
}

// load fills the store, whether its row is wanted or not.
func (m measuring) load(ctx context.Context, row *Row, pairs []stress.Pair) error {
	m.Say("round %d: %s", m.round+1, row.Name)
	rate, err := m.store.drive(ctx, stress.OrderedLoad(pairs), row)
	if err == nil && m.Wants(row) {
		m.record(row, rate)
	}
	return err
}

// record records a rate beside its yardstick.
func (m measuring) record(row *Row, rate float64) {
	y := m.y.of(row.Target)
	row.Record(rate, y.rate)
	row.yardCost = append(row.yardCost, y.cost)
}

// drive measures a workload if it is wanted, after a short warm-up with other choices.
func (m measuring) drive(ctx context.Context, row *Row, work maker) error {
	if !m.Wants(row) {
		return nil
	}
	seed := m.Seed + uint64(m.round)
	if _, err := m.store.drive(ctx, stress.Within(work(warmRequests, ^seed), m.warm), nil); err != nil {
		return err
	}
	return m.once(ctx, row, stress.Within(work(requests, seed), m.Time))
}

// once measures a workload if it is wanted.
func (m measuring) once(ctx context.Context, row *Row, w stress.Workload) error {
	if !m.Wants(row) {
		return nil
	}
	m.Say("round %d: %s", m.round+1, row.Name)
	rate, err := m.store.drive(ctx, w, row)
	if err == nil {
		m.record(row, rate)
	}
	return err
}

// scan measures how many pairs a second can be read in order, if that is wanted.
func (m measuring) scan(ctx context.Context, row *Row) error {
	if !m.Wants(row) {
		return nil
	}
	m.Say("round %d: %s", m.round+1, row.Name)
	rate, err := m.store.scan(ctx, m.Time, row)
	if err == nil {
		m.record(row, rate)
	}
	return err
}
