package lbs

// get is a GET that has not started.
type get struct {
	session *session
	id      uint64
	block   uint64
}

// waiting is a queue of GETs. The windows of the connections limit its length.
type waiting struct {
	queue []get
	head  int // those before it have been taken
}

func (w *waiting) len() int { return len(w.queue) - w.head }

func (w *waiting) push(g get) { w.queue = append(w.queue, g) }

// pop takes the oldest GET. There must be one.
func (w *waiting) pop() get {
	g := w.queue[w.head]
	w.head++
	if 2*w.head >= len(w.queue) {
		w.compact(func(get) bool { return true })
	}
	return g
}

// drop removes the GETs of one session, and returns their number.
func (w *waiting) drop(s *session) int {
	before := w.len()
	w.compact(func(g get) bool { return g.session != s })
	return before - w.len()
}

// compact moves the GETs to keep to the front.
func (w *waiting) compact(keep func(get) bool) {
	kept := w.queue[:0]
	for _, g := range w.queue[w.head:] {
		if keep(g) {
			kept = append(kept, g)
		}
	}
	clear(w.queue[len(kept):])
	w.queue, w.head = kept, 0
}
