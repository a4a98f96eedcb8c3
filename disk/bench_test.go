package disk_test

import (
	"math/rand/v2"
	"testing"

	"kivaloo/disk"
)

// BenchmarkRead reads blocks from the page cache, 64 outstanding.
func BenchmarkRead(b *testing.B) {
	const size, blocks, outstanding = 4096, 10_000, 64
	dir := b.TempDir()
	s := openLocal(b, dir, disk.Options{BlockSize: size, NoSync: true})
	add(b, s, blocks)
	c := newCollector()
	var ops []*disk.Op
	for range outstanding {
		ops = append(ops, &disk.Op{Kind: disk.Read, Buf: make([]byte, size)})
	}
	rng := rand.New(rand.NewPCG(1, 1))
	b.ReportAllocs()
	b.SetBytes(size)
	for range b.N/outstanding + 1 {
		for _, op := range ops {
			op.Block = rng.Uint64N(blocks)
		}
		c.submit(s, ops...)
		c.wait(outstanding)
	}
	closeStore(b, s)
}

// BenchmarkAppend makes durable appends of 20 blocks, one after the other.
func BenchmarkAppend(b *testing.B) {
	const size, n = 4096, 20
	s := openLocal(b, b.TempDir(), disk.Options{BlockSize: size})
	op := &disk.Op{Kind: disk.Append, Pages: pages(0, n, size)}
	b.ReportAllocs()
	b.SetBytes(n * size)
	for range b.N {
		op.Block = s.Info().Next
		do(s, op)
	}
	closeStore(b, s)
}
