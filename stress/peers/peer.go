package main

import (
	"bytes"
	"fmt"

	"kivaloo/stress"
)

const (
	// loadPairs is how many pairs a load stores at once.
	loadPairs = 1024

	// commitPairs is how many pairs are changed at once when each change must be on disk.
	commitPairs = 2048

	// cacheBytes is the size of each store's cache: more than the data takes.
	cacheBytes = 1 << 30
)

// peer is a store that takes part. Each has its own loops, so that nothing stands between the clock
// and the measured calls.
type peer interface {
	// load stores all pairs, and leaves the store in the best state for reading.
	load(pairs []stress.Pair) error
	// update sets each pair, in the given order, with commitPairs in a commit. If the store is
	// durable, each commit is on disk before the next.
	update(chosen []stress.Pair) error
	// get gets each pair by its key and checks the value. It must be safe for concurrent use.
	get(chosen []stress.Pair) error
	// scan reads everything in order, and expects these pairs.
	scan(pairs []stress.Pair) error
	close() error
}

// opener creates a new store in a directory that it creates.
type opener func(dir string, durable bool) (peer, error)

var openers = map[string]opener{
	"kivaloo": openKivaloo,
	"bbolt":   openBbolt,
	"pebble":  openPebble,
}

// checkValue returns an error unless value is the value of p.
func checkValue(p *stress.Pair, value []byte) error {
	if !bytes.Equal(value, p.Value()) {
		return fmt.Errorf("the value of %x is %x", p.Key(), value)
	}
	return nil
}

// checkScanned returns an error unless n is the number of pairs and last is the last key.
func checkScanned(pairs []stress.Pair, n int, last []byte) error {
	if n != len(pairs) || !bytes.Equal(last, pairs[n-1].Key()) {
		return fmt.Errorf("%d pairs of %d, the last of them %x", n, len(pairs), last)
	}
	return nil
}
