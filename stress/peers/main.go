// Command peers measures everything that this project has set out to reach, side by side with its
// yardsticks, and prints the table. Over the wire it compares with Redis. In process it compares
// with two stores that Go programs embed: bbolt, a B+tree in a mapped file, and pebble, a
// log-structured merge tree. It is a module of its own, so that their dependencies do not become
// those of the module that everybody imports.
//
//	make bench-peers
//	cd stress/peers && go run . -rows embedded    (those in process; the others need make build)
//
// Package targets measures servers and prints the table. This package measures what needs the
// peers.
package main

// Files in reading order: this one (the command line), embedded.go, growth.go and huge.go (what is
// measured), peer.go (what a store has to do), kivaloo.go, bbolt.go and pebble.go (how each does
// it).

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"syscall"

	"kivaloo/stress/peers/targets"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	o, huge, err := options(os.Args[1:])
	if err == nil {
		stages := slices.Concat(targets.Wire(), targets.Latency(), targets.Upkeep(), embedded())
		if huge {
			stages = append(stages, hugeStage(hugePairs, hugeSets))
		}
		err = targets.Run(ctx, o, stages, os.Stdout, os.Stderr)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

// options parses the command line.
func options(args []string) (o targets.Options, huge bool, err error) {
	f := flag.NewFlagSet("peers", flag.ContinueOnError)
	f.IntVar(&o.Rounds, "rounds", 3, "how often everything is measured")
	f.Uint64Var(&o.Pairs, "pairs", 1<<20, "how many pairs of 40+40 bytes")
	f.DurationVar(&o.Time, "time", targets.DefaultTime, "how long most workloads run at most, in each round")
	f.Uint64Var(&o.Seed, "seed", 1, "of the choice of keys")
	f.StringVar(&o.Programs, "bin", "../../bin", "directory of the programs to measure, as make build leaves them")
	f.StringVar(&o.Redis.Server, "redis-server", "redis-server", "the Redis server")
	f.StringVar(&o.Redis.Benchmark, "redis-benchmark", "redis-benchmark", "the Redis load generator")
	f.BoolVar(&huge, "huge", false, "measure a store of 2^24 pairs too, which takes minutes and 6 GB of disk")
	f.Func("rows", "measure only rows whose `names` match this regular expression", func(s string) error {
		o.Rows, err = regexp.Compile(s)
		return err
	})
	return o, huge, f.Parse(args)
}
