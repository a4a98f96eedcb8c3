package disk

// Inline is the store in a local directory without goroutines. Submit executes the operations in
// order, and also the janitor's work after them, before it returns. So the same operations on the
// same file system make the same calls. Only one goroutine may use it at a time.
type Inline struct {
	chain *chain
}

var _ Store = (*Inline)(nil)

// OpenInline is Open for an Inline. It ignores Options.Readers and Options.ReadDelay.
func OpenInline(dir string, o Options) (*Inline, error) {
	c, err := open(dir, o)
	if err != nil {
		return nil, err
	}
	return &Inline{c}, nil
}

// Info implements Store.
func (s *Inline) Info() Info { return s.chain.info() }

// Submit implements Store.
func (s *Inline) Submit(first, last *Op) { forEach(first, last, s.submit) }

func (s *Inline) submit(op *Op) {
	op.OK, op.Err = false, nil
	switch op.Kind {
	case Read:
		s.chain.read(op)
	case Append:
		if s.chain.accept(op) {
			s.chain.append(op)
		}
	case Free:
		s.chain.requestFree(op)
	}
	op.Done.PushOne(op)
	s.chain.tidy(0)
}

// Close implements Store.
func (s *Inline) Close() error {
	s.chain.sealTail()
	return s.chain.close()
}
