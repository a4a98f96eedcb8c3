package journal

import (
	"fmt"
	"io"
)

// Describe writes a journal block in readable form. It shows no records, because a record may begin
// in an earlier block and end in a later one.
func Describe(w io.Writer, number uint64, p []byte) error {
	b, err := ParseAt(number, p)
	if err != nil {
		return fmt.Errorf("block %d: %w", number, err)
	}
	if b.Kind == Flush {
		fmt.Fprintf(w, "block %d: flush record; the tree of the next block lacks commit %d and later ones, from block %d on\n",
			number, b.Seq, b.ReplayFrom())
		return nil
	}
	fmt.Fprintf(w, "block %d: journal, commit %d, piece %d of %d, %d bytes of changes\n",
		number, b.Seq, b.Piece+1, b.Pieces, len(b.Payload))
	return nil
}
