// Package outcheck makes commands fail if their output could not be written.
package outcheck

import (
	"fmt"
	"io"
)

// Writer is the standard output of a command. It remembers the first write that failed, so that the
// command can exit with that error even if the code that wrote ignored it.
type Writer struct {
	io.Writer
	err error
}

// New returns a Writer to w.
func New(w io.Writer) *Writer { return &Writer{Writer: w} }

// Write writes p. After a failure it writes nothing more, because output with a gap misleads.
func (w *Writer) Write(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	n, err := w.Writer.Write(p)
	w.err = err
	return n, err
}

// Check returns err or, if that is nil, the error of the first write that failed.
func (w *Writer) Check(err error) error {
	if err == nil && w.err != nil {
		return fmt.Errorf("the output could not be written: %w", w.err)
	}
	return err
}
