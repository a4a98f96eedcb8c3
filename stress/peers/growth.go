package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"kivaloo/stress/peers/targets"
)

const (
	smallPairs     = 1 << 16 // a group of pairs
	largeFactor    = 4       // size of a large store, as a multiple of the pairs
	setGrowth      = 1.4     // how much the cost of a SET may grow with the data
	growthSets     = 1 << 16 // in each round
	nanosPerSecond = float64(time.Second)
)

// growthStage compares SETs in a small store with SETs in a large one, both in memory.
func growthStage() targets.Stage {
	row := &targets.Row{Name: "growth, embedded durable SET", Target: targets.Target{Factor: setGrowth, Yardstick: "small store", AtMost: true, Unit: targets.Nanos}}
	return targets.Stage{Rows: []*targets.Row{row}, Run: func(ctx context.Context, b *targets.Bench) (failed error) {
		sizes := [2]uint64{smallPairs, largeFactor * b.Pairs}
		var stores [2]peer
		for i, name := range []string{"small", "large"} {
			b.Say("filling a store with %d pairs", sizes[i])
			s, done, err := fill(b, name, openKivaloo, true, sizes[i])
			if err != nil {
				return err
			}
			defer func() { failed = errors.Join(failed, done()) }()
			pairs := b.FirstPairs(sizes[i])
			if err := errors.Join(s.scan(pairs), s.get(pairs)); err != nil { // once without the clock, to warm up
				return err
			}
			stores[i] = s
		}
		row.Note("%d pairs over %d", sizes[1], sizes[0])
		for round := range b.Rounds {
			b.Say("round %d: %s", round+1, row.Name)
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			cost, err := costs(b, stores, sizes, uint64(round))
			if err != nil {
				return err
			}
			row.Record(cost[1], cost[0])
		}
		return nil
	}}
}

// costs returns the time of a SET in each store, in nanoseconds.
func costs(b *targets.Bench, stores [2]peer, sizes [2]uint64, round uint64) (cost [2]float64, err error) {
	random := rand.New(rand.NewPCG(b.Seed, round))
	for i, s := range stores {
		chosen := choose(random, b.FirstPairs(sizes[i]), growthSets)
		change(random, chosen)
		perSecond, err := action{1, s.update}.rate(chosen)
		if err != nil {
			return cost, err
		}
		cost[i] = nanosPerSecond / perSecond
	}
	return cost, nil
}
