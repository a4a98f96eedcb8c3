package targets

import (
	"context"
	"path/filepath"

	"kivaloo/stress"
)

// The names that targets have for the yardsticks.
const (
	redisGet = "R_get"
	redisSet = "R_set"
)

// yardsticks are what Redis did in one round, in requests per second.
type yardsticks struct{ get, set float64 }

// of returns the one that a target names.
func (y yardsticks) of(t Target) float64 {
	if t.Yardstick == redisGet {
		return y.get
	}
	return y.set
}

// askRedis measures the yardsticks: as many SETs as there are pairs, and then GETs.
func (b *Bench) askRedis(ctx context.Context) (y yardsticks, err error) {
	if err := b.fillRedis(ctx); err != nil {
		return y, err
	}
	if err := b.redis.Settle(ctx); err != nil {
		return y, err
	}
	b.Say("Redis: SET and GET")
	if y.set, err = b.redis.Sets(ctx, b.Pairs); err != nil {
		return y, err
	}
	if err := b.redis.Settle(ctx); err != nil {
		return y, err
	}
	y.get, err = b.redis.Gets(ctx, b.Pairs)
	return y, err
}

// fillRedis starts Redis and fills it, unless that has been done.
func (b *Bench) fillRedis(ctx context.Context) (err error) {
	if b.redis != nil {
		return nil
	}
	if b.redis, err = stress.StartRedis(ctx, b.Redis, filepath.Join(b.Dir, "redis")); err != nil {
		return err
	}
	b.Say("Redis: SET, to fill it")
	_, err = b.redis.Sets(ctx, b.Pairs)
	return err
}

func (b *Bench) stopRedis() error {
	if b.redis == nil {
		return nil
	}
	return b.redis.Stop()
}
