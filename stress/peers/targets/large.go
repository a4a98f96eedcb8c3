package targets

import (
	"context"
	"errors"

	"kivaloo/stress"
)

// largeStage measures a store whose cache holds only part of it. All rounds use the same store,
// because filling it takes long.
func largeStage() Stage {
	row := func(name string, factor float64, yardstick string) *Row {
		return &Row{Name: "4 x the pairs, 128 MB cache: " + name, Target: Target{Factor: factor, Yardstick: yardstick, Unit: PerSecond}}
	}
	get, mix, scan := row("GET", 0.5, redisGet), row("mix", 1, redisSet), row("scan", 4, redisGet)
	return Stage{
		Rows:  []*Row{get, mix, scan},
		Redis: true,
		Run: func(ctx context.Context, b *Bench) (err error) {
			pairs := b.FirstPairs(largeFactor * b.Pairs)
			s, err := b.serve(ctx, "--cache", largeCache)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, s.stop()) }()
			b.Say("filling a store with %d pairs", len(pairs))
			if _, err := s.drive(ctx, stress.OrderedLoad(pairs), nil); err != nil {
				return err
			}
			for round := range b.Rounds {
				y, err := b.askRedis(ctx)
				if err != nil {
					return err
				}
				m := measuring{b, s, y, min(warmLargeTime, b.Time), round}
				for _, step := range []func() error{
					func() error { return m.drive(ctx, get, randomMix(pairs, 0)) },
					func() error { return m.drive(ctx, mix, randomMix(pairs, 2)) },
					func() error { return m.scan(ctx, scan) },
				} {
					if err := step(); err != nil {
						return err
					}
				}
			}
			return nil
		},
	}
}
