package simfs

import (
	"math/rand/v2"
	"slices"
)

// Lie is what a disk does instead of a Sync of a file. It still reports success.
type Lie uint8

const (
	LostSync    Lie = iota // nothing is written
	LostWrite              // one piece is not written
	Misdirected            // one piece is written to another place, and not to its own
)

// lie is a Lie in place of a later Sync.
type lie struct {
	Lie
	after int // earlier Syncs that have something to write
	piece int // its length in bytes
	rng   *rand.Rand
}

// Lie makes one later Sync of a file lie, after the given number of Syncs that have something to
// write. A piece of LostWrite or Misdirected has the given length in bytes, and begins at a
// multiple of it. The process sees the written data until DropCache. A power cut leaves what is on
// disk.
func (s *FS) Lie(l Lie, after, piece int, rng *rand.Rand) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lie = &lie{l, after, piece, rng}
}

// Lied reports whether the Sync of the last Lie is over.
func (s *FS) Lied() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lie == nil
}

// syncLying is sync by a disk that lies as l says.
func (n *inode) syncLying(l *lie) {
	n.own()
	n.lost = true
	before := slices.Clone(n.durable)
	piece := n.dirty[l.rng.IntN(len(n.dirty))]
	if pieces := (piece.to - piece.from + l.piece - 1) / l.piece; pieces > 0 {
		piece.from += l.rng.IntN(pieces) * l.piece
		piece.to = min(piece.from+l.piece, piece.to, len(n.data))
	}
	n.sync()
	if l.Lie == LostSync {
		n.durable = before
		return
	}
	if piece.from >= piece.to {
		return
	}
	if to := l.rng.IntN(1+len(n.durable)/l.piece) * l.piece; l.Lie == Misdirected && to != piece.from {
		copy(n.durable[to:], n.data[piece.from:piece.to])
	}
	clear(n.durable[piece.from:piece.to])
	if piece.from < len(before) {
		copy(n.durable[piece.from:piece.to], before[piece.from:])
	}
}
