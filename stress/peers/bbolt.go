package main

import (
	"os"
	"path/filepath"
	"slices"

	"go.etcd.io/bbolt"

	"kivaloo/stress"
)

// bucket is the bucket that holds the pairs.
var bucket = []byte("pairs")

type bboltPeer struct{ db *bbolt.DB }

func openBbolt(dir string, durable bool) (peer, error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	db, err := bbolt.Open(filepath.Join(dir, "db"), 0o600, &bbolt.Options{NoSync: !durable, NoFreelistSync: true})
	if err != nil {
		return nil, err
	}
	return bboltPeer{db}, nil
}

// load fills pages completely, because the pairs arrive in order.
func (b bboltPeer) load(pairs []stress.Pair) error {
	return b.store(pairs, loadPairs, 1)
}

func (b bboltPeer) update(chosen []stress.Pair) error {
	return b.store(chosen, commitPairs, bbolt.DefaultFillPercent)
}

func (b bboltPeer) store(pairs []stress.Pair, commit int, fillPercent float64) error {
	for part := range slices.Chunk(pairs, commit) {
		err := b.db.Update(func(tx *bbolt.Tx) error {
			bk, err := tx.CreateBucketIfNotExists(bucket)
			if err != nil {
				return err
			}
			bk.FillPercent = fillPercent
			for i := range part {
				if err := bk.Put(part[i].Key(), part[i].Value()); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// get uses a transaction for each pair, as kivaloo and pebble do, and copies no value.
func (b bboltPeer) get(chosen []stress.Pair) error {
	for i := range chosen {
		err := b.db.View(func(tx *bbolt.Tx) error {
			return checkValue(&chosen[i], tx.Bucket(bucket).Get(chosen[i].Key()))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (b bboltPeer) scan(pairs []stress.Pair) error {
	return b.db.View(func(tx *bbolt.Tx) error {
		n, last := 0, []byte(nil)
		c := tx.Bucket(bucket).Cursor()
		for key, _ := c.First(); key != nil; key, _ = c.Next() {
			n, last = n+1, key
		}
		return checkScanned(pairs, n, last)
	})
}

func (b bboltPeer) close() error { return b.db.Close() }
