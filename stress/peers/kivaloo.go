package main

import (
	"context"
	"slices"

	"kivaloo"
	"kivaloo/stress"
)

type kivalooPeer struct{ db *kivaloo.DB }

func openKivaloo(dir string, durable bool) (peer, error) {
	db, err := kivaloo.Open(dir, kivaloo.Options{CacheBytes: cacheBytes, NoSync: !durable})
	if err != nil {
		return nil, err
	}
	return kivalooPeer{db}, nil
}

func (k kivalooPeer) load(pairs []stress.Pair) error {
	return k.store(pairs, loadPairs)
}

func (k kivalooPeer) update(chosen []stress.Pair) error { return k.store(chosen, commitPairs) }

func (k kivalooPeer) store(pairs []stress.Pair, commit int) error {
	batch := new(kivaloo.Batch)
	for part := range slices.Chunk(pairs, commit) {
		batch.Reset()
		for i := range part {
			batch.Set(part[i].Key(), part[i].Value())
		}
		if err := k.db.Apply(context.Background(), batch); err != nil {
			return err
		}
	}
	return nil
}

func (k kivalooPeer) get(chosen []stress.Pair) error {
	ctx := context.Background()
	for i := range chosen {
		value, err := k.db.Get(ctx, chosen[i].Key())
		if err != nil {
			return err
		}
		if err := checkValue(&chosen[i], value); err != nil {
			return err
		}
	}
	return nil
}

func (k kivalooPeer) scan(pairs []stress.Pair) error {
	n, last := 0, []byte(nil)
	for pair, err := range k.db.Scan(context.Background(), kivaloo.ScanOptions{Borrow: true}) {
		if err != nil {
			return err
		}
		n, last = n+1, pair.Key
	}
	return checkScanned(pairs, n, last)
}

func (k kivalooPeer) close() error { return k.db.Close() }

func (k kivalooPeer) put(pairs []hugePair) error {
	batch := new(kivaloo.Batch)
	for i := range pairs {
		batch.Set(pairs[i].key(), pairs[i].value())
	}
	return k.db.Apply(context.Background(), batch)
}

// rest does nothing: the store flushes when it is idle.
func (k kivalooPeer) rest() error { return nil }
