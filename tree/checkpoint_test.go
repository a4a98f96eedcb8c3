package tree

import "testing"

// TestStopAfterSavingMidway: where recovery itself has saved all there was, a mark is behind that root; a stop in order leaves a root last.
func TestStopAfterSavingMidway(t *testing.T) {
	store := newMemStore(2048)
	h := newHarness(t, store, journalConfig())
	h.do(sets(0, 100, "value")...)
	h.tree.replaying = true // as in the middle of it
	h.tree.whenSaved(func(error) {})
	h.pass(2 * checkpointIdle)
	h.tree.replaying = false
	if !h.tree.isSaved(&h.tree.committed) || endsInRoot(store) {
		t.Fatal("it was not saved with a mark behind")
	}
	h.tree.Stop()
	h.pass(2 * checkpointIdle)
	if h.tree.Busy() || !endsInRoot(store) {
		t.Error("the last block is no root")
	}
	sameContent(t, newHarness(t, store.clone(), journalConfig()).dump(), h.dump())
}

// TestPageCommitsAreNoCheckpoints: what is counted as one.
func TestPageCommitsAreNoCheckpoints(t *testing.T) {
	h := newHarness(t, newMemStore(2048), testConfig())
	h.do(sets(0, 100, "value")...)
	if n := h.tree.Stats().Checkpoints; n != 0 {
		t.Errorf("%d checkpoints", n)
	}
}
