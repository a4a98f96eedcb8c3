package must

import "time"

// Patience bounds every wait for something that must happen. It is far above what anything takes,
// for machines that are busy with something else.
const Patience = time.Minute

// test is what package must needs of a *testing.T, a *testing.B or a *rapid.T.
type test interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

// Do ends the test if the step that returned err has failed.
func Do(t test, err error) {
	if err != nil {
		t.Helper() // not before: it takes longer than many a step that is measured
		t.Fatal(err)
	}
}

// Left returns Patience, or less where the time limit of the test binary comes first: so a test
// that waits says for what, before it is ended.
func Left(t test) time.Duration {
	limited, ok := t.(interface{ Deadline() (time.Time, bool) })
	if !ok {
		return Patience
	}
	end, ok := limited.Deadline()
	if !ok {
		return Patience
	}
	return min(Patience, time.Until(end)*3/4)
}

// Eventually waits until holds returns true, and ends the test if that takes too long.
func Eventually(t test, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(Left(t)); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("still not: %s", what)
		}
	}
}
