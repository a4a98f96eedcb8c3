package targets

import (
	"bufio"
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"kivaloo/stress"
)

// RedisPrograms are the programs of Redis. They are looked for in PATH unless their names contain a
// slash.
type RedisPrograms struct {
	Server    string // redis-server
	Benchmark string // redis-benchmark
}

// Check returns an error that says what to do if one of them is missing.
func (r RedisPrograms) Check() error {
	for _, program := range []string{r.Server, r.Benchmark} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("this comparison needs Redis (on Debian: apt install redis-server redis-tools): %w", err)
		}
	}
	return nil
}

// redisServer is a Redis server that syncs every write before it acknowledges it, with
// redis-benchmark as its client.
type redisServer struct {
	*stress.Process
	benchmark string
}

// startRedis starts a server that keeps its data in a new directory dir, and waits until it accepts
// connections.
func startRedis(ctx context.Context, programs RedisPrograms, dir string) (*redisServer, error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	socket := filepath.Join(dir, "redis.sock")
	p, err := stress.Start("redis-server", socket, programs.Server, []string{"--port", "0", "--unixsocket", socket, "--dir", dir,
		"--appendonly", "yes", "--appendfsync", "always", "--save", "",
		"--auto-aof-rewrite-percentage", "0"}, nil) // a rewrite forks, and stalls Redis for seconds on some machines
	if err != nil {
		return nil, err
	}
	nc, err := p.Connect(ctx)
	if err != nil {
		return nil, errors.Join(err, p.Stop())
	}
	return &redisServer{p, programs.Benchmark}, nc.Close()
}

// Sets sets n random pairs out of n, and returns the rate per second.
func (r *redisServer) Sets(ctx context.Context, n uint64) (float64, error) {
	return r.rate(ctx, n, "SET", redisKey, strings.Repeat("v", stress.KeyLen))
}

// Gets gets n random pairs out of n, and returns the rate per second.
func (r *redisServer) Gets(ctx context.Context, n uint64) (float64, error) {
	return r.rate(ctx, n, "GET", redisKey)
}

// With these, redis-benchmark keeps stress.Depth requests outstanding, over 64 connections.
const (
	redisClients  = "64"
	redisPipeline = "64"
)

// redisKey is the template from which redis-benchmark makes keys of stress.KeyLen bytes. It
// replaces the last word by a random number of 12 digits.
var redisKey = strings.Repeat("k", stress.KeyLen-12) + "__rand_int__"

// rate makes redis-benchmark send a command n times, and returns its rate.
func (r *redisServer) rate(ctx context.Context, n uint64, command ...string) (float64, error) {
	count := strconv.FormatUint(n, 10)
	args := append([]string{"-s", r.Socket, "-c", redisClients, "-P", redisPipeline, "-n", count, "-r", count, "--csv"}, command...)
	cmd := exec.CommandContext(ctx, r.benchmark, args...)
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

// LoneGets gets pairs that Sets may have set, for d, one at a time, and returns the time of each.
func (r *redisServer) LoneGets(ctx context.Context, n uint64, d time.Duration, seed uint64) (took []time.Duration, err error) {
	nc, err := r.Connect(ctx)
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	stop := context.AfterFunc(ctx, func() { nc.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	random := rand.New(rand.NewPCG(seed, 0))
	var request, reply []byte
	in := bufio.NewReader(nc)
	for end := time.Now().Add(d); ; {
		key := strings.Replace(redisKey, "__rand_int__", fmt.Sprintf("%012d", random.Uint64N(n)), 1)
		request = fmt.Appendf(request[:0], "*2\r\n$3\r\nGET\r\n$%d\r\n%s\r\n", len(key), key)
		began := time.Now()
		if began.After(end) {
			return took, nil
		}
		if _, err := nc.Write(request); err != nil {
			return nil, r.Lost(err)
		}
		if reply, err = in.ReadSlice('\n'); err != nil {
			return nil, r.Lost(err)
		}
		switch string(reply) {
		case redisAbsent:
		case redisPresent:
			if _, err := in.Discard(stress.KeyLen + 2); err != nil {
				return nil, r.Lost(err)
			}
		default:
			return nil, fmt.Errorf("redis-server answers GET of %s with %q", key, reply)
		}
		took = append(took, time.Since(began))
	}
}

// The beginning of Redis's answers to GET: the key is absent, or it has a value of stress.KeyLen
// bytes.
var (
	redisAbsent  = "$-1\r\n"
	redisPresent = fmt.Sprintf("$%d\r\n", stress.KeyLen)
)

// benchmarkRate finds the rate in the output of redis-benchmark: a line that names the columns, and
// a line with their values.
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
			rate, err := strconv.ParseFloat(rows[1][i], 64)
			if err != nil || !(rate > 0 && rate <= math.MaxFloat64) {
				return 0, fmt.Errorf("%q is no rate", rows[1][i])
			}
			return rate, nil
		}
	}
	return 0, errors.New(`no column "rps"`)
}

// Settle waits until Redis has finished rewriting its log in the background, which would slow it
// down.
func (r *redisServer) Settle(ctx context.Context) error {
	nc, err := r.Connect(ctx)
	if err != nil {
		return err
	}
	defer nc.Close()
	stop := context.AfterFunc(ctx, func() { nc.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	for {
		busy, err := rewriting(nc)
		if err != nil {
			return r.Lost(err)
		}
		if !busy {
			return nil
		}
		time.Sleep(redisRestInterval)
	}
}

// rewriting asks Redis whether it is rewriting its log, or about to.
func rewriting(nc net.Conn) (bool, error) {
	if _, err := io.WriteString(nc, "INFO persistence\r\n"); err != nil {
		return false, err
	}
	reply := make([]byte, 16<<10) // it is about 1 KB, and arrives at once
	n, err := nc.Read(reply)
	if err != nil {
		return false, err
	}
	reply = reply[:n]
	return bytes.Contains(reply, []byte("aof_rewrite_in_progress:1")) || bytes.Contains(reply, []byte("aof_rewrite_scheduled:1")), nil
}
