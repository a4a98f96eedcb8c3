package kivaloo_test

import (
	"context"
	"encoding/csv"
	"fmt"
	"math/rand/v2"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"kivaloo"
	"kivaloo/internal/must"
	"kivaloo/stress"
)

// The benchmarks measure random reads of benchPairs pairs of 40+40 bytes over a unix socket. A
// given number of goroutines share one Client.
const (
	benchPairs  = 1 << 20
	benchSample = 1 << 16 // number of keys that each goroutine chooses before the clock starts
)

// BenchmarkClient compares the calls of a Client with Redis serving 64 clients that keep 64
// requests outstanding each, on the same machine, in the same run:
//
//	go test -run '^$' -bench Client -benchtime 3s .
//
// Without Redis its part is skipped.
func BenchmarkClient(b *testing.B) {
	c := benchServe(b)
	keys := benchLoad(b, c)
	get := func(ctx context.Context, key []byte) error {
		_, err := c.Get(ctx, key)
		return err
	}
	perSecond := 0.0
	for _, goroutines := range []int{1, 16, 256, 2048} {
		b.Run(fmt.Sprintf("Get/%d", goroutines), func(b *testing.B) {
			rate := benchGet(b, goroutines, keys, func() func(context.Context, []byte) error { return get })
			if goroutines == 256 {
				perSecond = rate
			}
		})
	}
	b.Run("AppendGet/256", func(b *testing.B) {
		benchGet(b, 256, keys, func() func(context.Context, []byte) error {
			var buf []byte
			return func(ctx context.Context, key []byte) (err error) {
				buf, err = c.AppendGet(ctx, buf[:0], key)
				return err
			}
		})
	})
	b.Run("Get/256/deadline", func(b *testing.B) {
		ctx, cancel := context.WithCancel(b.Context())
		defer cancel()
		benchGet(b, 256, keys, func() func(context.Context, []byte) error {
			return func(_ context.Context, key []byte) error { return get(ctx, key) }
		})
	})
	b.Run("Pipeline", func(b *testing.B) {
		p := c.Pipeline(b.Context())
		for i := range b.N {
			if p.Get(keys[i%len(keys)], func([]byte, bool) {}) != nil {
				break
			}
		}
		must.Do(b, p.Wait())
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
	})
	b.Run("Redis", func(b *testing.B) {
		rate := benchRedis(b)
		b.ReportMetric(perSecond/rate, "Get/256-per-Redis-GET")
	})
}

// benchGet makes b.N calls in total from the given number of goroutines. prepare returns the call
// for each goroutine.
func benchGet(b *testing.B, goroutines int, keys [][]byte, prepare func() func(context.Context, []byte) error) float64 {
	b.ReportAllocs()
	ctx := context.Background()
	var group sync.WaitGroup
	for g := range goroutines {
		call := prepare()
		n, at := b.N/goroutines, g*len(keys)/goroutines
		if g < b.N%goroutines {
			n++
		}
		group.Go(func() {
			for i := range n {
				if err := call(ctx, keys[(at+i)%len(keys)]); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	rate := float64(b.N) / b.Elapsed().Seconds()
	b.ReportMetric(rate, "ops/s")
	return rate
}

// benchServe builds and starts `kivaloo serve`, and connects to it.
func benchServe(b *testing.B) *kivaloo.Client {
	b.Helper()
	dir := b.TempDir()
	program := filepath.Join(dir, "kivaloo")
	if out, err := exec.Command("go", "build", "-o", program, "kivaloo/cmd/kivaloo").CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	data := filepath.Join(dir, "d")
	p := benchStart(b, "kivaloo serve", filepath.Join(data, "kivaloo.sock"), program, "serve", "--dir", data)
	c, err := kivaloo.Dial(b.Context(), p.Socket, kivaloo.DialOptions{})
	must.Do(b, err)
	b.Cleanup(func() { c.Close() })
	return c
}

// benchStart starts a server and waits until it accepts connections. The end of b stops it.
func benchStart(b *testing.B, name, socket, program string, args ...string) *stress.Process {
	b.Helper()
	p, err := stress.Start(name, socket, program, args, nil)
	must.Do(b, err)
	b.Cleanup(func() {
		if err := p.Stop(); err != nil {
			b.Error(err)
		}
	})
	var nc net.Conn
	if nc, err = p.Connect(b.Context()); err != nil {
		b.Fatal(err)
	}
	nc.Close()
	return p
}

// benchLoad stores the pairs, and returns some of their keys in random order.
func benchLoad(b *testing.B, c *kivaloo.Client) [][]byte {
	b.Helper()
	pairs := stress.Collect(benchPairs)
	p := c.Pipeline(b.Context())
	for i := range pairs {
		if p.Set(pairs[i].Key(), pairs[i].Value()) != nil {
			break
		}
	}
	must.Do(b, p.Wait())
	keys := make([][]byte, benchSample)
	for i := range keys {
		keys[i] = append([]byte(nil), pairs[rand.IntN(len(pairs))].Key()...)
	}
	return keys
}

// benchRedis fills a Redis and returns how many random GETs it answers per second.
func benchRedis(b *testing.B) float64 {
	b.Helper()
	for _, program := range []string{"redis-server", "redis-benchmark"} {
		if _, err := exec.LookPath(program); err != nil {
			b.Skip(err)
		}
	}
	dir := b.TempDir()
	socket := filepath.Join(dir, "redis.sock")
	benchStart(b, "redis-server", socket, "redis-server", "--port", "0", "--unixsocket", socket, "--dir", dir, "--save", "")
	key, value := strings.Repeat("k", stress.KeyLen-12)+"__rand_int__", strings.Repeat("v", stress.KeyLen)
	run := func(n int, command ...string) float64 {
		args := []string{"-s", socket, "-c", "64", "-P", "64", "-n", strconv.Itoa(n), "-r", strconv.Itoa(benchPairs), "--csv"}
		out, err := exec.CommandContext(b.Context(), "redis-benchmark", append(args, command...)...).Output()
		must.Do(b, err)
		rows, err := csv.NewReader(strings.NewReader(string(out))).ReadAll()
		if err != nil || len(rows) != 2 || len(rows[0]) < 2 || rows[0][1] != "rps" {
			b.Fatalf("redis-benchmark printed %q, %v", out, err)
		}
		rate, err := strconv.ParseFloat(rows[1][1], 64)
		must.Do(b, err)
		return rate
	}
	run(benchPairs, "SET", key, value)
	rate := run(2*benchPairs, "GET", key)
	b.ReportMetric(rate, "ops/s")
	return rate
}
