package tree

// replies sends the answers to the clients and counts them.
type replies struct {
	touched []Client // clients with answers in this step
	tally   tally
}

// answered records that one request of r.b has been answered.
func (a *replies) answered(r ref, s Status) {
	a.tally.requests[r.request().Op][s]++
	c := r.b.Client
	if n := len(a.touched); n == 0 || a.touched[n-1] != c {
		a.touched = append(a.touched, c)
	}
	if r.b.unanswered--; r.b.unanswered == 0 {
		c.Release(r.b)
	}
}

// fail answers a request that could not be carried out.
func (a *replies) fail(r ref, err error) {
	r.b.Client.Failed(r.request(), err)
	a.answered(r, StatusFailed)
}

// value answers a Get.
func (a *replies) value(r ref, value []byte, found bool) {
	r.b.Client.Value(r.request(), value, found)
	a.answered(r, outcomeOf(found))
}

// flush ends the step for all clients that got answers.
func (a *replies) flush() {
	for i, c := range a.touched {
		c.Flush()
		a.touched[i] = nil
	}
	a.touched = a.touched[:0]
}
