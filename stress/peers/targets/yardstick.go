package targets

import (
	"context"
	"path/filepath"
)

// The names of the yardsticks in targets.
const (
	redisGet = "R_get"
	redisSet = "R_set"
)

// yardsticks are the results of Redis in one round.
type yardsticks struct{ get, set yardstick }

// yardstick is one command: requests per second, and processor time for each in microseconds.
type yardstick struct{ rate, cost float64 }

// of returns the yardstick that a target names.
func (y yardsticks) of(t Target) yardstick {
	if t.Yardstick == redisGet {
		return y.get
	}
	return y.set
}

// askRedis measures the yardsticks: as many SETs as there are pairs, then GETs.
func (b *Bench) askRedis(ctx context.Context) (y yardsticks, err error) {
	if err := b.fillRedis(ctx); err != nil {
		return y, err
	}
	if err := b.redis.Settle(ctx); err != nil {
		return y, err
	}
	b.Say("Redis: SET and GET")
	if y.set, err = b.ask(ctx, b.redis.Sets); err != nil {
		return y, err
	}
	if err := b.redis.Settle(ctx); err != nil {
		return y, err
	}
	y.get, err = b.ask(ctx, b.redis.Gets)
	return y, err
}

// ask makes Redis carry out one command for each pair.
func (b *Bench) ask(ctx context.Context, command func(context.Context, uint64) (float64, error)) (y yardstick, err error) {
	before, err := workedSeconds(b.redis.PID())
	if err == nil {
		y.rate, err = command(ctx, b.Pairs)
	}
	if err != nil {
		return y, err
	}
	after, err := workedSeconds(b.redis.PID())
	y.cost = (after - before) * microsPerSecond / float64(b.Pairs)
	return y, err
}

// fillRedis starts Redis and fills it, unless that has been done.
func (b *Bench) fillRedis(ctx context.Context) (err error) {
	if b.redis != nil {
		return nil
	}
	if b.redis, err = startRedis(ctx, b.Redis, filepath.Join(b.Dir, "redis")); err != nil {
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
