package tree

import (
	"fmt"
	"io"

	"kivaloo/disk"
	"kivaloo/tree/journal"
	"kivaloo/tree/page"
)

// Describe writes a page, or a block of the journal, for people to read. p may be any bytes of a
// block; what cannot be taken apart is an error.
func Describe(w io.Writer, block uint64, p []byte) error {
	switch {
	case len(p) < disk.MinBlockSize:
		return fmt.Errorf("block %d has only %d bytes", block, len(p))
	case journal.Is(p):
		return journal.Describe(w, block, p)
	}
	return page.Describe(w, block, p)
}
