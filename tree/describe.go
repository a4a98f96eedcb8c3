package tree

import (
	"fmt"
	"io"

	"kivaloo/disk"
	"kivaloo/tree/journal"
	"kivaloo/tree/page"
)

// Describe writes a page or a journal block in readable form. p may be any content of a block; it
// returns an error for what it cannot parse.
func Describe(w io.Writer, block uint64, p []byte) error {
	switch {
	case len(p) < disk.MinBlockSize:
		return fmt.Errorf("block %d has only %d bytes", block, len(p))
	case journal.Is(p):
		return journal.Describe(w, block, p)
	}
	return page.Describe(w, block, p)
}
