package main

import (
	"bytes"
	"fmt"

	"kivaloo/stress"
)

const (
	// loadPairs is how many pairs are stored at once.
	loadPairs = 1024

	// cacheBytes is how much memory a store may have for its cache: more than the data takes.
	cacheBytes = 512 << 20
)

// peer is a store that takes part. Its loops are its own, so that nothing is between the clock and
// the calls that are measured.
type peer interface {
	// load stores all pairs, and leaves the store as is best for reading.
	load(pairs []stress.Pair) error
	// get gets each pair by its key, and checks the value. Several goroutines may call it at once.
	get(chosen []stress.Pair) error
	// scan reads everything in order, which is to be these pairs.
	scan(pairs []stress.Pair) error
	close() error
}

// openers make new stores in directories that they make.
var openers = map[string]func(dir string) (peer, error){
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
