package journal

// Writer lays out the records of a commit in blocks. It reuses its memory for the next commit.
type Writer struct {
	blockSize int
	buf       []byte
	left      int // free space in the last block of buf
	blocks    [][]byte
}

// keepBytes is how much memory a Writer keeps for the next commit. Only a very long commit needs
// more.
const keepBytes = 4 << 20

// room returns the payload capacity of a block. The length of a payload has two bytes.
func room(blockSize int) int { return min(blockSize-HeaderBytes, 1<<16-1) }

// Begin begins a commit. It invalidates the blocks of the previous one.
func (w *Writer) Begin(blockSize int) {
	w.blockSize, w.left = blockSize, 0
	if cap(w.buf) > keepBytes {
		w.buf, w.blocks = nil, nil
	}
	w.buf = w.buf[:0]
}

// Set adds a record that a key has a value. Delete adds a record that it is absent.
func (w *Writer) Set(key, value []byte) {
	if 3+len(key)+len(value) <= w.left {
		at := len(w.buf)
		w.buf = append(w.buf, opSet, byte(len(key)))
		w.buf = append(w.buf, key...)
		w.buf = append(w.buf, byte(len(value)))
		w.buf = append(w.buf, value...)
		w.left -= len(w.buf) - at
		return
	}
	w.add(opSet, byte(len(key)))
	w.add(key...)
	w.add(byte(len(value)))
	w.add(value...)
}

func (w *Writer) Delete(key []byte) {
	w.add(opDelete, byte(len(key)))
	w.add(key...)
}

func (w *Writer) add(s ...byte) {
	for len(s) > 0 {
		if w.left == 0 {
			w.pad()
			w.buf = append(w.buf, emptyHeader[:]...)
			w.left = room(w.blockSize)
		}
		n := min(len(s), w.left)
		w.buf = append(w.buf, s[:n]...)
		s = s[n:]
		w.left -= n
	}
}

var emptyHeader [HeaderBytes]byte

// pad fills the current block with zeros.
func (w *Writer) pad() {
	if part := len(w.buf) % w.blockSize; part > 0 {
		at := len(w.buf)
		w.buf = append(w.buf, make([]byte, w.blockSize-part)...)
		clear(w.buf[at:])
	}
}

// Finish returns the blocks of the commit: none if it has no records. They are valid until the next
// Begin. b has its sequence number, the number of its first block, and its append.
func (w *Writer) Finish(b Block) [][]byte {
	w.pad()
	w.blocks = w.blocks[:0]
	for at := 0; at < len(w.buf); at += w.blockSize {
		w.blocks = append(w.blocks, w.buf[at:at+w.blockSize])
	}
	b.Kind, b.Pieces = Piece, uint32(len(w.blocks))
	for i, p := range w.blocks {
		b.Piece = uint32(i)
		length := room(w.blockSize)
		if i == len(w.blocks)-1 {
			length -= w.left
		}
		b.put(p, length)
		b.Number++
	}
	return w.blocks
}
