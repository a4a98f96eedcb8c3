package journal

import (
	"errors"
	"fmt"

	"kivaloo/disk"
)

// ReadBlock returns a block of a store. The slice is valid until the next call.
type ReadBlock func(block uint64) ([]byte, error)

// Commit is the place of a commit.
type Commit struct {
	Seq    uint64
	Block  uint64 // of its first piece
	Pieces uint64 // 0: there is no commit
}

// Next returns the block after the last piece.
func (c Commit) Next() uint64 { return c.Block + c.Pieces }

// PieceError adds the place of a piece to an error.
type PieceError struct {
	Seq, Piece, Block uint64
	Err               error
}

func (e *PieceError) Error() string {
	return fmt.Sprintf("piece %d of commit %d, block %d: %v", e.Piece+1, e.Seq, e.Block, e.Err)
}

func (e *PieceError) Unwrap() error { return e.Err }

// CommitEndingIn returns the commit whose last piece is b. It reads no other piece.
func CommitEndingIn(b Block) (Commit, error) {
	c := Commit{Seq: b.Seq, Block: b.Number - uint64(b.Piece), Pieces: uint64(b.Pieces)}
	if b.Piece != b.Pieces-1 {
		return c, fmt.Errorf("%w: commit %d ends with piece %d of %d", disk.ErrCorrupt, b.Seq, b.Piece+1, b.Pieces)
	}
	return c, nil
}

// Payload appends the records of a commit to buf. It fails if a piece is missing.
func (c Commit) Payload(read ReadBlock, buf []byte) ([]byte, error) {
	var first Block
	for i := range c.Pieces {
		b, err := c.piece(i, read)
		if i == 0 {
			first = b
		}
		if err == nil && (uint64(b.Pieces) != c.Pieces || b.First != first.First || b.Previous != first.Previous) {
			err = c.bad(i, fmt.Errorf("%w: it is of another append than the first piece", disk.ErrCorrupt))
		}
		if err != nil {
			return buf, err
		}
		buf = append(buf, b.Payload...)
	}
	return buf, nil
}

// piece reads a piece of c.
func (c Commit) piece(i uint64, read ReadBlock) (Block, error) {
	p, err := read(c.Block + i)
	if err != nil {
		return Block{}, c.bad(i, err)
	}
	b, err := ParseAt(c.Block+i, p)
	if err == nil && (b.Kind != Piece || b.Seq != c.Seq || uint64(b.Piece) != i) {
		err = fmt.Errorf("%w: it is another block of the journal", disk.ErrCorrupt)
	}
	if err != nil {
		return b, c.bad(i, err)
	}
	return b, nil
}

func (c Commit) bad(piece uint64, err error) error {
	return &PieceError{c.Seq, piece, c.Block + piece, err}
}

// WasWhole reports whether an error about a block shows that the block was once written as a whole:
// a bit has changed since, it is at another place now, or it has another version. So its append was
// not cut short there.
func WasWhole(err error) bool {
	return errors.Is(err, disk.ErrRot) || errors.Is(err, ErrMisplaced) || errors.Is(err, ErrVersion)
}
