package main

import (
	"context"
	"errors"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"kivaloo/stress"
)

type pebblePeer struct {
	db   *pebble.DB
	sync *pebble.WriteOptions // for each commit
}

func openPebble(dir string, durable bool) (peer, error) {
	cache := pebble.NewCache(cacheBytes)
	defer cache.Unref() // the DB has its own reference
	db, err := pebble.Open(dir, &pebble.Options{Cache: cache, DisableWAL: !durable, Logger: silent{}})
	if err != nil {
		return nil, err
	}
	if durable {
		return pebblePeer{db, pebble.Sync}, nil
	}
	return pebblePeer{db, pebble.NoSync}, nil
}

// silent is a logger that only reports fatal errors.
type silent struct{}

func (silent) Infof(string, ...any)  {}
func (silent) Errorf(string, ...any) {}
func (silent) Fatalf(format string, args ...any) {
	pebble.DefaultLogger.Fatalf(format, args...)
}

// load leaves everything in one level, where lookups are fastest.
func (p pebblePeer) load(pairs []stress.Pair) error {
	if err := p.store(pairs, loadPairs); err != nil {
		return err
	}
	if err := p.db.Flush(); err != nil {
		return err
	}
	end := append(slices.Clone(pairs[len(pairs)-1].Key()), 0)
	return p.db.Compact(context.Background(), pairs[0].Key(), end, true)
}

func (p pebblePeer) update(chosen []stress.Pair) error { return p.store(chosen, commitPairs) }

func (p pebblePeer) store(pairs []stress.Pair, commit int) error {
	for part := range slices.Chunk(pairs, commit) {
		batch := p.db.NewBatch()
		for i := range part {
			if err := batch.Set(part[i].Key(), part[i].Value(), nil); err != nil {
				return err
			}
		}
		if err := batch.Commit(p.sync); err != nil {
			return err
		}
	}
	return nil
}

func (p pebblePeer) get(chosen []stress.Pair) error {
	for i := range chosen {
		value, closer, err := p.db.Get(chosen[i].Key())
		if err != nil {
			return err
		}
		if err := errors.Join(checkValue(&chosen[i], value), closer.Close()); err != nil {
			return err
		}
	}
	return nil
}

func (p pebblePeer) scan(pairs []stress.Pair) error {
	it, err := p.db.NewIter(nil)
	if err != nil {
		return err
	}
	n, last := 0, []byte(nil)
	for valid := it.First(); valid; valid = it.Next() {
		_, err := it.ValueAndErr()
		if err != nil {
			return errors.Join(err, it.Close())
		}
		n, last = n+1, append(last[:0], it.Key()...)
	}
	return errors.Join(it.Close(), checkScanned(pairs, n, last))
}

func (p pebblePeer) close() error { return p.db.Close() }

func (p pebblePeer) put(pairs []hugePair) error {
	batch := p.db.NewBatch()
	for i := range pairs {
		if err := batch.Set(pairs[i].key(), pairs[i].value(), nil); err != nil {
			return err
		}
	}
	return batch.Commit(p.sync)
}

// rest flushes; compactions follow by themselves.
func (p pebblePeer) rest() error { return p.db.Flush() }
