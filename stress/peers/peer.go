package main

import (
	"bytes"
	"fmt"

	"kivaloo/stress"
)

const (
	// loadPairs is how many pairs are stored at once.
	loadPairs = 1024

	// commitPairs is how many are changed at once where each change has to be on the disk.
	commitPairs = 2048

	// cacheBytes is how much memory a store may have for its cache: more than the data takes.
	cacheBytes = 1 << 30
)

// peer is a store that takes part. Its loops are its own, so that nothing is between the clock and
// the calls that are measured.
type peer interface {
	// load stores all pairs, and leaves the store as is best for reading.
	load(pairs []stress.Pair) error
	// update sets each pair, in the order given, commitPairs in a commit. If the store is durable
	// each commit is on the disk before the next.
	update(chosen []stress.Pair) error
	// get gets each pair by its key, and checks the value. Several goroutines may call it at once.
	get(chosen []stress.Pair) error
	// scan reads everything in order, which is to be these pairs.
	scan(pairs []stress.Pair) error
	close() error
}

// opener makes a new store in a directory that it makes.
type opener func(dir string, durable bool) (peer, error)

var openers = map[string]opener{
	"kivaloo": openKivaloo,
	"bbolt":   openBbolt,
	"pebble":  openPebble,
}

// checkValue returns an error unless value is that of p.
func checkValue(p *stress.Pair, value []byte) error {
	if !bytes.Equal(value, p.Value()) {
		return fmt.Errorf("the value of %x is %x", p.Key(), value)
	}
	return nil
}

// checkScanned returns an error unless that many pairs were found, of which the last had that key.
func checkScanned(pairs []stress.Pair, n int, last []byte) error {
	if n != len(pairs) || !bytes.Equal(last, pairs[n-1].Key()) {
		return fmt.Errorf("%d pairs of %d, the last of them %x", n, len(pairs), last)
	}
	return nil
}
