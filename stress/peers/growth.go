package main

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"time"

	"kivaloo/stress/targets"
)

// How the cost of a request may grow with the data.
const (
	smallPairs     = 1 << 16 // a group of pairs
	growthFactor   = 4       // how many times the pairs the large store has
	getGrowth      = 1.25    // for every doubling of the tree's height
	setGrowth      = 2.0     // in all
	growthGets     = 1 << 20 // in each round
	growthSets     = 1 << 16
	nanosPerSecond = float64(time.Second)
)

// growthStage: a small store beside a large one, both in memory.
func growthStage() targets.Stage {
	get := &targets.Row{Name: "growth, embedded GET", Target: targets.Target{Yardstick: "small store", AtMost: true, Unit: targets.Nanos}}
	set := &targets.Row{Name: "growth, embedded durable SET", Target: targets.Target{Factor: setGrowth, Yardstick: "small store", AtMost: true, Unit: targets.Nanos}}
	return targets.Stage{Rows: []*targets.Row{get, set}, Run: func(ctx context.Context, b *targets.Bench) (failed error) {
		sizes := [2]uint64{smallPairs, growthFactor * b.Pairs}
		var stores [2]kivalooPeer
		for i, name := range []string{"small", "large"} {
			b.Say("filling a store with %d pairs", sizes[i])
			s, done, err := fill(b, name, openKivaloo, true, sizes[i])
			if err != nil {
				return err
			}
			defer func() { failed = errors.Join(failed, done()) }()
			pairs := b.FirstPairs(sizes[i])
			if err := errors.Join(s.scan(pairs), s.get(pairs)); err != nil { // once without the clock
				return err
			}
			stores[i] = s.(kivalooPeer)
		}
		low, high := stores[0].db.Stats().Height, stores[1].db.Stats().Height
		get.Target.Factor = math.Pow(getGrowth, math.Log2(float64(high)/float64(low)))
		get.Note("%d pairs over %d, a height of %d over %d", sizes[1], sizes[0], high, low)
		set.Note("%d pairs over %d", sizes[1], sizes[0])
		// GETs first, while all values are known.
		for _, row := range []*targets.Row{get, set} {
			if !b.Wants(row) {
				continue
			}
			for round := range b.Rounds {
				b.Say("round %d: %s", round+1, row.Name)
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				cost, err := costs(b, stores, sizes, row == set, uint64(round))
				if err != nil {
					return err
				}
				row.Record(cost[1], cost[0])
			}
		}
		return nil
	}}
}

// costs returns what a GET, or a SET, takes in each store, in nanoseconds.
func costs(b *targets.Bench, stores [2]kivalooPeer, sizes [2]uint64, sets bool, round uint64) (cost [2]float64, err error) {
	random := rand.New(rand.NewPCG(b.Seed, round))
	for i, s := range stores {
		n, do := growthGets, s.get
		if sets {
			n, do = growthSets, s.update
		}
		chosen := choose(random, b.FirstPairs(sizes[i]), n)
		if sets {
			change(random, chosen)
		}
		perSecond, err := action{1, do}.rate(chosen)
		if err != nil {
			return cost, err
		}
		cost[i] = nanosPerSecond / perSecond
	}
	return cost, nil
}
