package stress

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
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
	for _, program := range []string{o.Server, o.Benchmark} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("this comparison needs Redis (on Debian: apt install redis-server redis-tools): %w", err)
		}
	}
	return nil
}

// comparison is one under way. Rates are in requests per second.
type comparison struct {
	RedisOptions
	dir      string
	progress io.Writer
	pairs    []Pair

	kivaloo, redis *Process // nil until started
	conn           net.Conn // to kivaloo

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
		c.Serve, err = buildServe(ctx, c.dir)
	}
	return err
}

// buildServe makes the kivaloo program, in dir, and returns its path.
func buildServe(ctx context.Context, dir string) (string, error) {
	path := filepath.Join(dir, "kivaloo")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", path, "kivaloo/cmd/kivaloo")
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build kivaloo/cmd/kivaloo (run this inside the module, or give the program's path): %w\n%s", err, text)
	}
	return path, nil
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
	data := filepath.Join(c.dir, "r")
	if err := os.Mkdir(data, 0o700); err != nil {
		return err
	}
	socket := filepath.Join(data, "redis.sock")
	c.redis, err = Start("redis-server", socket, c.Server, []string{"--port", "0", "--unixsocket", socket, "--dir", data,
		"--appendonly", "yes", "--appendfsync", "always", "--save", ""}, nil)
	if err != nil {
		return err
	}
	nc, err := c.redis.Connect(ctx)
	if err != nil {
		return err
	}
	return nc.Close()
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
	if c.setRate, err = c.benchmark(ctx, "SET", redisKey, strings.Repeat("v", KeyLen)); err != nil {
		return err
	}
	return c.settle(ctx)
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
		if rate, err = c.benchmark(ctx, "GET", redisKey); err != nil {
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
		return 0, c.kivaloo.lost(err)
	}
	return r.Rate(), nil
}

// How redis-benchmark keeps Depth requests outstanding, over 64 connections.
const (
	redisClients  = "64"
	redisPipeline = "64"
)

// redisKey is what redis-benchmark makes a key of KeyLen bytes from, by putting a
// random number of 12 digits in the place of the last word.
var redisKey = strings.Repeat("k", KeyLen-12) + "__rand_int__"

// benchmark has redis-benchmark send one command per pair, and returns its rate.
func (c *comparison) benchmark(ctx context.Context, command ...string) (float64, error) {
	n := strconv.FormatUint(c.Pairs, 10)
	args := append([]string{"-s", c.redis.Socket, "-c", redisClients, "-P", redisPipeline, "-n", n, "-r", n, "--csv"}, command...)
	cmd := exec.CommandContext(ctx, c.Benchmark, args...)
	var text, complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = &text, &complaints
	if err := cmd.Run(); err != nil {
		return 0, fmt.Errorf("redis-benchmark %s: %w\n%s%s", command[0], err, &text, &complaints)
	}
	rate, err := benchmarkRate(text.String())
	if err != nil {
		return 0, fmt.Errorf("redis-benchmark %s printed what cannot be understood: %w\n%s", command[0], err, &text)
	}
	return rate, nil
}

// benchmarkRate finds the rate in what redis-benchmark printed: a line that names
// the columns, and one with their values.
func benchmarkRate(text string) (float64, error) {
	rows, err := csv.NewReader(strings.NewReader(text)).ReadAll()
	if err != nil {
		return 0, err
	}
	if len(rows) != 2 {
		return 0, fmt.Errorf("%d lines instead of two", len(rows))
	}
	for i, column := range rows[0] {
		if column == "rps" {
			return strconv.ParseFloat(rows[1][i], 64)
		}
	}
	return 0, errors.New(`no column "rps"`)
}

// settle waits until Redis has finished rewriting its log in the background, which
// would slow its GETs down.
func (c *comparison) settle(ctx context.Context) error {
	nc, err := c.redis.Connect(ctx)
	if err != nil {
		return err
	}
	defer nc.Close()
	stop := context.AfterFunc(ctx, func() { nc.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	for {
		busy, err := rewriting(nc)
		if err != nil {
			return c.redis.lost(err)
		}
		if !busy {
			return nil
		}
		time.Sleep(settleInterval)
	}
}

// rewriting asks Redis whether it is rewriting its log, or about to.
func rewriting(nc net.Conn) (bool, error) {
	if _, err := io.WriteString(nc, "INFO persistence\r\n"); err != nil {
		return false, err
	}
	reply := make([]byte, 16<<10) // it is about 1 KB, and comes at once
	n, err := nc.Read(reply)
	if err != nil {
		return false, err
	}
	reply = reply[:n]
	return bytes.Contains(reply, []byte("aof_rewrite_in_progress:1")) || bytes.Contains(reply, []byte("aof_rewrite_scheduled:1")), nil
}

// stop ends the servers that were started.
func (c *comparison) stop() (err error) {
	if c.conn != nil {
		c.conn.Close()
	}
	for _, p := range []*Process{c.kivaloo, c.redis} {
		if p != nil {
			err = errors.Join(err, p.Stop())
		}
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
