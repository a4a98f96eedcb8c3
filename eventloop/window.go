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
	owed   int       // answers to come
	bytes  int       // memory of answers that are queued, and promised for those to come
	input  int       // memory of input that has not been cut, and of requests; the limits are not about it
	parked int       // answers that may take long to come; the limits are not about them
	all    *together // counts what this counts; nil: the window is never shut
	shut   bool
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

// addInput counts more bytes of input or of requests.
func (w *window) addInput(bytes int) {
	w.input += bytes
	if w.all != nil {
		w.all.input += bytes
	}
}

// park counts more answers that may take long; negative ones have been sent.
func (w *window) park(answers int) {
	if w.parked += answers; w.parked < 0 {
		panic("eventloop: more was answered than was parked")
	}
}

// close takes back what is left.
func (w *window) close() {
	w.parked = 0
	w.addInput(-w.input)
	w.add(-w.owed, -w.bytes)
}

// together counts what all accepted connections of a loop use, which decides what is left for each.
//
// The limit of a connection is in proportion to what is unused. So the greediest connections reach
// theirs first, and something is always left for a modest one. Each connection has a minimum in any
// case. A shut window opens at the latest when the connection has all of its own answers, so
// connections need no notice when others leave.
type together struct {
	owed  int
	bytes int // of answers, sent and promised
	input int // bytes of input and of requests
	max   int // bytes
}

// short reports whether all connections together have reached their memory limit.
func (t *together) short() bool { return t.bytes+t.input >= t.max }

// fits reports whether there is room for so many bytes more.
func (t *together) fits(bytes int) bool { return t.bytes+t.input+bytes <= t.max }

// owedLimit is how many answers one connection may be owed now.
func (t *together) owedLimit() int {
	if t.short() {
		return 1
	}
	return min(maxOwed, max(leastOwed, owedShare*(maxOwedTogether-t.owed)))
}

// crowded reports whether half of the memory for all connections is in use.
func (t *together) crowded() bool { return t.bytes+t.input > t.max/2 }

// bytesLimit is how much memory the answers of one connection may take now.
func (t *together) bytesLimit() int {
	return min(maxUnsentBytes, max(leastBytes, t.max-t.bytes-t.input))
}

// readBytes is how much is read from one connection at once: not much more than can be cut, because
// what cannot stays in memory.
func (t *together) readBytes() int {
	if t.short() {
		return shortReadBytes
	}
	return max(leastReadBytes, min(readBufferBytes, t.owedLimit()*usualRequestBytes, t.bytesLimit()/readsPerTurn))
}
