package kivaloo_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	kv "kivaloo"
	"kivaloo/internal/must"
)

const dbBenchPairs = 1 << 18

// benchKey returns a key of 40 bytes. Consecutive numbers give keys far from each other.
func benchKey(k []byte, i int) []byte {
	k = append(k[:0], make([]byte, 40)...)
	binary.BigEndian.PutUint64(k, uint64(i)*0x9e3779b97f4a7c15)
	binary.BigEndian.PutUint64(k[32:], uint64(i))
	return k
}

// benchDB returns a store of dbBenchPairs pairs of 40+40 bytes, all in memory.
func benchDB(b *testing.B) *kv.DB {
	b.Helper()
	db := openDB(b, b.TempDir(), kv.Options{NoSync: true})
	batch := new(kv.Batch)
	for i := range dbBenchPairs {
		batch.Set(benchKey(nil, i), make([]byte, 40))
		if batch.Len() == 1<<14 || i == dbBenchPairs-1 {
			must.Do(b, db.Apply(b.Context(), batch))
			batch.Reset()
		}
	}
	b.ReportAllocs()
	b.ResetTimer()
	return db
}

func BenchmarkDBGet(b *testing.B) {
	db := benchDB(b)
	b.RunParallel(func(pb *testing.PB) {
		var key, buf []byte
		for pb.Next() {
			key = benchKey(key, rand.IntN(dbBenchPairs))
			value, err := db.AppendGet(b.Context(), buf[:0], key)
			if err != nil {
				b.Error(err)
			}
			buf = value
		}
	})
}

// BenchmarkDBRange measures one pair of a scan of everything: pairs that the caller may keep, and
// borrowed ones.
func BenchmarkDBRange(b *testing.B) {
	for _, borrow := range []bool{false, true} {
		b.Run(fmt.Sprintf("borrow=%t", borrow), func(b *testing.B) {
			db := benchDB(b)
			for n := 0; n < b.N; {
				for _, err := range db.Scan(b.Context(), kv.ScanOptions{Borrow: borrow}) {
					must.Do(b, err)
					if n++; n == b.N {
						break
					}
				}
			}
		})
	}
}

// BenchmarkDBSet measures one durable change, made by one or many goroutines at once.
func BenchmarkDBSet(b *testing.B) {
	for _, goroutines := range []int{1, 64, 1024} {
		b.Run(fmt.Sprint(goroutines), func(b *testing.B) {
			db := openDB(b, b.TempDir(), kv.Options{})
			b.SetParallelism(goroutines)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				var key []byte
				for pb.Next() {
					key = benchKey(key, rand.IntN(dbBenchPairs))
					if err := db.Set(b.Context(), key, key); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}
