package page

import (
	"fmt"
	"io"
)

// Describe writes a page in readable form. p may be any content of a block.
func Describe(w io.Writer, block uint64, p []byte) error {
	l, err := Parse(p)
	if err != nil {
		return fmt.Errorf("block %d: %w", block, err)
	}
	kind := "leaf"
	if l.Height > 0 {
		kind = "parent"
	}
	if l.Root {
		kind = "root " + kind
	}
	fmt.Fprintf(w, "block %d: %s, height %d, %d keys, prefix length %d, %d of %d bytes used\n",
		block, kind, l.Height, l.Keys, l.Prefix, l.End, len(p))
	if l.Root {
		fmt.Fprintf(w, "nodes in the tree: %d\n", l.Nodes)
	}
	if l.Partial {
		fmt.Fprintln(w, "the journal holds changes that this tree does not")
	}
	if l.Height == 0 {
		describeLeaf(w, p, l)
		return nil
	}
	describeParent(w, p, l)
	return nil
}

func describeLeaf(w io.Writer, p []byte, l Layout) {
	keyAt, valueAt := l.Body, l.Second
	for i := range l.Keys {
		key, value := String(p, keyAt), String(p, valueAt)
		fmt.Fprintf(w, "%5d  %q = %q\n", i, key, value)
		keyAt += 1 + len(key)
		valueAt += 1 + len(value)
	}
}

func describeParent(w io.Writer, p []byte, l Layout) {
	at := l.Body
	for i := range l.Keys + 1 {
		c := l.Child(p, i)
		fmt.Fprintf(w, "%5d  child at block %d, oldest leaf %d, %d bytes\n", i, c.Block, c.Oldest, c.Size)
		if i < l.Keys {
			sep := String(p, at)
			fmt.Fprintf(w, "       %q\n", sep)
			at += 1 + len(sep)
		}
	}
}
