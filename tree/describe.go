package tree

import (
	"fmt"
	"io"
)

// Describe writes a page, or a block of the journal, for people to read. p may be any bytes of a block; what cannot be
// taken apart is an error.
func Describe(w io.Writer, block uint64, p []byte) error {
	if len(p) < headerBytes+rootExtra {
		return fmt.Errorf("block %d has only %d bytes", block, len(p))
	}
	if isJournal(p) {
		return describeJournal(w, block, p)
	}
	l, err := parseLayout(p)
	if err != nil {
		return fmt.Errorf("block %d: %w", block, err)
	}
	kind := "leaf"
	if l.height > 0 {
		kind = "parent"
	}
	if l.root {
		kind = "root " + kind
	}
	fmt.Fprintf(w, "block %d: %s, height %d, %d keys, prefix length %d, %d of %d bytes used\n",
		block, kind, l.height, l.keys, l.prefix, l.end, len(p))
	if l.root {
		fmt.Fprintf(w, "nodes in the tree: %d\n", l.nodes)
	}
	if l.height == 0 {
		describeLeaf(w, p, l)
		return nil
	}
	describeParent(w, p, l)
	return nil
}

// describeJournal shows no records: one may begin in a block before, and end in one behind.
func describeJournal(w io.Writer, block uint64, p []byte) error {
	j, err := parseJournal(block, p)
	if err != nil {
		return fmt.Errorf("block %d: %w", block, err)
	}
	if j.kind == journalCheckpoint {
		fmt.Fprintf(w, "block %d: checkpoint record, last batch %d: the journal is replayed from block %d on\n", block, j.seq, j.replayFrom())
		return nil
	}
	fmt.Fprintf(w, "block %d: journal, batch %d, piece %d of %d, %d bytes of changes\n", block, j.seq, j.piece+1, j.pieces, len(j.payload))
	return nil
}

func describeLeaf(w io.Writer, p []byte, l layout) {
	keyAt, valueAt := l.body, l.keysEnd
	for i := range l.keys {
		key, value := stringAt(p, keyAt), stringAt(p, valueAt)
		fmt.Fprintf(w, "%5d  %q = %q\n", i, key, value)
		keyAt += 1 + len(key)
		valueAt += 1 + len(value)
	}
}

func describeParent(w io.Writer, p []byte, l layout) {
	at := l.body
	for i := range l.keys + 1 {
		r := getRecord(p[l.keysEnd+i*recordBytes:])
		fmt.Fprintf(w, "%5d  child at block %d, oldest leaf %d, %d bytes\n", i, r.block, r.oldest, r.size)
		if i < l.keys {
			sep := stringAt(p, at)
			fmt.Fprintf(w, "       %q\n", sep)
			at += 1 + len(sep)
		}
	}
}
