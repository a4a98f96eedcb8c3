package stress

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
)

// RedisOptions says how to compare a store with Redis. The programs are looked for
// in PATH unless they contain a slash.
type RedisOptions struct {
	Serve     string // the kivaloo program; empty: it is built
	Server    string // redis-server
	Benchmark string // redis-benchmark
	Pairs     uint64 // size of the data set, and of each round
	Rounds    int    // of random GETs, on each side
	Seed      uint64 // of the choice of keys
}

// CompareRedis loads the same amount of data into `kivaloo serve` and into a Redis
// that syncs every write, and then has both answer random GETs in turn, on this
// machine, over unix sockets, with Depth requests outstanding. It prints a report to
// out, and what it is doing to progress. Whatever it starts and writes is gone when
// it returns, also when ctx is done.
func CompareRedis(ctx context.Context, o RedisOptions, out, progress io.Writer) (err error) {
	if err := o.check(); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "kivaloo-stress-")
	if err != nil {
		return fmt.Errorf("make a directory for the servers: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	c := comparison{RedisOptions: o, dir: dir, progress: progress}
	defer func() { err = errors.Join(err, c.stop()) }()
	for _, step := range []func(context.Context) error{c.build, c.startKivaloo, c.startRedis, c.load, c.get} {
		if err := step(ctx); err != nil {
			return interrupted(ctx, err)
		}
	}
	return c.report(out)
}

// interrupted returns why ctx is done, or err if it is not: what was cut off has
// nothing of interest to say.
func interrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func (o *RedisOptions) check() error {
	if o.Pairs == 0 || o.Rounds < 1 {
		return fmt.Errorf("%d pairs and %d rounds: at least one of each is needed", o.Pairs, o.Rounds)
	}
	return RedisPrograms{o.Server, o.Benchmark}.Check()
}

// comparison is one under way. Rates are in requests per second.
type comparison struct {
	RedisOptions
	dir      string
	progress io.Writer
	pairs    []Pair

	kivaloo *Process // nil until started
	conn    net.Conn // to kivaloo
	redis   *Redis   // nil until started

	loadRate, setRate  float64
	getRates, redisGet []float64 // by round
	collections        int       // garbage collections of kivaloo while it answered GETs
}

func (c *comparison) say(format string, args ...any) {
	fmt.Fprintf(c.progress, format+"\n", args...)
}

// build makes the kivaloo program if none was given.
func (c *comparison) build(ctx context.Context) (err error) {
	if c.Serve == "" {
		c.say("building kivaloo")
		c.Serve, err = Build(ctx, c.dir, "kivaloo")
	}
	return err
}

func (c *comparison) startKivaloo(ctx context.Context) (err error) {
	data := filepath.Join(c.dir, "k")
	c.kivaloo, err = Start("kivaloo serve", filepath.Join(data, "kivaloo.sock"), c.Serve,
		[]string{"serve", "--dir", data}, []string{"GODEBUG=gctrace=1"})
	if err != nil {
		return err
	}
	c.conn, err = c.kivaloo.Connect(ctx)
	return err
}

func (c *comparison) startRedis(ctx context.Context) (err error) {
	c.redis, err = StartRedis(ctx, RedisPrograms{c.Server, c.Benchmark}, filepath.Join(c.dir, "r"))
	return err
}

// load fills both stores.
func (c *comparison) load(ctx context.Context) (err error) {
	c.say("making %d pairs", c.Pairs)
	c.pairs = Collect(c.Pairs)
	c.say("kivaloo: ordered load")
	if c.loadRate, err = c.drive(ctx, OrderedLoad(c.pairs)); err != nil {
		return err
	}
	c.say("Redis: SET")
	if c.setRate, err = c.redis.Sets(ctx, c.Pairs); err != nil {
		return err
	}
	return c.redis.Settle(ctx)
}

// get has both stores answer random GETs in turn.
func (c *comparison) get(ctx context.Context) error {
	for round := range c.Rounds {
		c.say("round %d of %d: random GET on kivaloo, then Redis", round+1, c.Rounds)
		before := c.kivaloo.Collections()
		rate, err := c.drive(ctx, RandomGet(c.pairs, int(c.Pairs), c.Seed+uint64(round)))
		if err != nil {
			return err
		}
		c.collections += c.kivaloo.Collections() - before
		c.getRates = append(c.getRates, rate)
		if rate, err = c.redis.Gets(ctx, c.Pairs); err != nil {
			return err
		}
		c.redisGet = append(c.redisGet, rate)
	}
	return nil
}

// drive runs a workload on kivaloo, and returns its rate.
func (c *comparison) drive(ctx context.Context, w Workload) (float64, error) {
	r, err := Drive(ctx, c.conn, w, Depth)
	if err != nil {
		return 0, c.kivaloo.Lost(err)
	}
	return r.Rate(), nil
}

// stop ends the servers that were started.
func (c *comparison) stop() (err error) {
	if c.conn != nil {
		c.conn.Close()
	}
	if c.kivaloo != nil {
		err = c.kivaloo.Stop()
	}
	if c.redis != nil {
		err = errors.Join(err, c.redis.Stop())
	}
	return err
}

func (c *comparison) report(out io.Writer) error {
	r := report{
		title: fmt.Sprintf("%d pairs of %d+%d bytes, %d requests in flight over unix sockets, %d CPUs",
			c.Pairs, KeyLen, KeyLen, Depth, runtime.NumCPU()),
		rows: []row{
			{"kivaloo ordered load", []float64{c.loadRate}},
			{"Redis SET, synced", []float64{c.setRate}},
			{"kivaloo random GET", c.getRates},
			{"Redis GET", c.redisGet},
		},
		ratios: []ratio{
			{"random GET / Redis GET", median(c.getRates) / median(c.redisGet), targetGet},
			{"ordered load / Redis SET", c.loadRate / c.setRate, targetLoad},
		},
		notes: []string{fmt.Sprintf("kivaloo collected garbage %d times during %d GETs (never, if a GET allocates nothing)",
			c.collections, uint64(c.Rounds)*c.Pairs)},
	}
	return r.print(out)
}
