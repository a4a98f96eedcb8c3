package main

import (
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"kivaloo/stress"
	"kivaloo/stress/peers/targets"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestEmbedded measures all rows, on a scale that takes no time.
func TestEmbedded(t *testing.T) {
	o, _, err := options([]string{"-rows", "^embedded|Mi pairs", "-rounds", "1", "-pairs", "65536", "-time", "100ms", "-bin", "unused"})
	if err != nil || o.Time != 100*time.Millisecond {
		t.Fatal(o, err)
	}
	t.Setenv("TMPDIR", t.TempDir())
	var out strings.Builder
	if err := targets.Run(t.Context(), o, append(embedded(), hugeStage(1<<13, 1<<12)), &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"65536 pairs of 40+40 bytes", "embedded GET ", "embedded durable updates", "embedded scan, over pebble", " x bbolt", "embedded GET, 4 x the pairs, over pebble", "0 Mi pairs: peak disk use", " of 10 met"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the report has no %q:\n%s", want, &out)
		}
	}
	if _, _, err := options([]string{"-rows", "("}); err == nil {
		t.Error("a wrong expression is taken")
	}
}

// TestWrongPairsAreNoticed checks that a wrong answer of a store is noticed.
func TestWrongPairsAreNoticed(t *testing.T) {
	pairs := stress.Collect(2000)
	for name, open := range openers {
		t.Run(name, func(t *testing.T) {
			s, err := open(t.TempDir()+"/store", true)
			if err != nil {
				t.Fatal(err)
			}
			defer s.close()
			if err := s.load(pairs[:1999]); err != nil {
				t.Fatal(err)
			}
			if s.get(pairs[:1999]) != nil || s.get(pairs[1999:]) == nil {
				t.Error("the pair that is missing is not missed by get, or another is")
			}
			if s.scan(pairs[:1999]) != nil || s.scan(pairs) == nil {
				t.Error("the pair that is missing is not missed by scan, or another is")
			}
			changed := choose(rand.New(rand.NewPCG(1, 0)), pairs[:1], 1)
			change(rand.New(rand.NewPCG(1, 0)), changed)
			if err := errors.Join(s.update(changed), s.get(changed)); err != nil || s.get(pairs[:1]) == nil {
				t.Errorf("update: %v, or it has changed nothing", err)
			}
		})
	}
}
