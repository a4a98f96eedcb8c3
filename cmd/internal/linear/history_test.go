package linear

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"kivaloo"
	"kivaloo/internal/must"
)

// checkTime bounds the check of one history. It is far above what a check takes.
const checkTime = 2 * time.Minute

// history is what has happened to some groups of keys. Adding to it is safe for concurrent use.
type history struct {
	epoch time.Time

	mu         sync.Mutex
	operations []porcupine.Operation
	answered   [opcodes]int // number of each kind
	unknown    int          // changes with an unknown outcome
}

func newHistory() *history { return &history{epoch: time.Now()} }

// now returns the time since the epoch in nanoseconds. It never decreases.
func (h *history) now() int64 { return int64(time.Since(h.epoch)) }

// add records an operation of a player that was called at a given time and has just returned.
func (h *history) add(player int, called int64, c call, a answer, err error) {
	returned := h.now()
	if err != nil {
		var op *kivaloo.OpError
		if errors.As(err, &op) && !op.Sent || !c.op.changes() {
			return // it had no effect
		}
		a, returned = answer{unknown: true}, endless
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if a.unknown {
		h.unknown++
	} else {
		h.answered[c.op]++
	}
	h.operations = append(h.operations, porcupine.Operation{ClientId: player, Call: called, Return: returned, Input: c, Output: a})
}

// awaitProgress waits until some more operations have been answered.
func (h *history) awaitProgress(t *testing.T) {
	t.Helper()
	before := h.count()
	must.Eventually(t, "operations are answered", func() bool { return h.count() >= before+progress })
}

// count returns how many operations have been answered.
func (h *history) count() (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, of := range h.answered {
		n += of
	}
	return n
}

// check returns an error unless the history is linearizable. No operation may be under way.
func (h *history) check() error {
	result := porcupine.CheckOperationsTimeout(model, h.operations, checkTime)
	if result == porcupine.Ok {
		return nil
	}
	return fmt.Errorf("of %d operations, %d with an unknown outcome: %s", len(h.operations), h.unknown, result)
}

// mustBeLinearizable checks the history. If it is not linearizable, it draws a picture of it.
func (h *history) mustBeLinearizable(t *testing.T) {
	t.Helper()
	err := h.check()
	if err == nil {
		return
	}
	_, info := porcupine.CheckOperationsVerbose(model, h.operations, checkTime)
	picture, create := os.CreateTemp("", "kivaloo-linear-*.html")
	must.Do(t, create)
	defer picture.Close()
	must.Do(t, porcupine.Visualize(model, info, picture))
	t.Fatalf("%v; it is drawn in %s", err, picture.Name())
}
