package eventloop

// window says whether more may be read from a connection.
//
//	       owed or bytes at the connection's limit
//	open ------------------------------------------> shut
//	     <------------------------------------------
//	       both at half of their limits
//
// The halves keep it from moving at every answer. The limits fall when all connections together
// have much, see together.
type window struct {
	owed  int       // answers to come
	bytes int       // memory of answers that are queued, and promised for those to come
	input int       // memory of input that has not been cut; the limits are not about it
	all   *together // counts what this counts; nil: the window is never shut
	shut  bool
}

// add counts more answers and bytes; negative ones have been sent.
func (w *window) add(answers, bytes int) {
	w.owed += answers
	w.bytes += bytes
	if w.owed < 0 || w.bytes < 0 {
		panic("eventloop: more was answered than was owed")
	}
	if w.all == nil {
		return
	}
	w.all.owed += answers
	w.all.bytes += bytes
	switch maxOwed, maxBytes := w.all.owedLimit(), w.all.bytesLimit(); {
	case w.owed >= maxOwed || w.bytes >= maxBytes:
		w.shut = true
	case w.owed <= maxOwed/2 && w.bytes <= maxBytes/2:
		w.shut = false
	}
}

// addInput counts more bytes of input.
func (w *window) addInput(bytes int) {
	w.input += bytes
	if w.all != nil {
		w.all.input += bytes
	}
}

// close takes back what is left.
func (w *window) close() {
	w.addInput(-w.input)
	w.add(-w.owed, -w.bytes)
}

// together is what all accepted connections of a loop have, and so what is left for each.
//
// A connection's limit is in proportion to what nobody has. So the greediest reach theirs first,
// and there is always something left for one that has had little. Whatever the others do, each
// connection has its least. A shut window opens at the latest when the connection has got
// all of its own answers, so nothing need be told to connections when others leave.
type together struct {
	owed  int
	bytes int // of answers, sent and promised
	input int // bytes
}

// owedLimit is how many answers one connection may be owed now.
func (t *together) owedLimit() int {
	return min(maxOwed, max(leastOwed, owedShare*(maxOwedTogether-t.owed)))
}

// crowded reports whether half of what all may have is in use.
func (t *together) crowded() bool { return t.bytes+t.input > maxBytesTogether/2 }

// bytesLimit is how much memory the answers of one connection may take now.
func (t *together) bytesLimit() int {
	return min(maxUnsentBytes, max(leastBytes, maxBytesTogether-t.bytes-t.input))
}

// readBytes is how much is read from one connection at once: not much more than can be cut, because
// what cannot stays in memory.
func (t *together) readBytes() int {
	return max(leastReadBytes, min(readBufferBytes, t.owedLimit()*usualRequestBytes, t.bytesLimit()/readsPerTurn))
}
