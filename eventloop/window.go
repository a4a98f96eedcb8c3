package eventloop

// window says whether more may be read from a connection.
//
//	       owed >= maxOwed, or bytes >= maxUnsentBytes
//	open ----------------------------------------------> shut
//	     <----------------------------------------------
//	       owed <= half, and bytes <= half
//
// The halves keep it from moving at every answer.
type window struct {
	owed      int // answers to come
	bytes     int // memory of answers that are queued, and promised for those to come
	shut      bool
	unlimited bool // never shut
}

// add counts more answers and bytes; negative ones have been sent.
func (w *window) add(answers, bytes int) {
	w.owed += answers
	w.bytes += bytes
	if w.owed < 0 || w.bytes < 0 {
		panic("eventloop: more was answered than was owed")
	}
	switch {
	case w.unlimited:
	case w.owed >= maxOwed || w.bytes >= maxUnsentBytes:
		w.shut = true
	case w.owed <= maxOwed/2 && w.bytes <= maxUnsentBytes/2:
		w.shut = false
	}
}
