package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"

	"kivaloo"
	"kivaloo/stress"
	"kivaloo/stress/results"
)

// maxSteps is the most rates of a sweep.
const maxSteps = 1000

// parseSweep parses "10k:100k:10k": the first rate, the last rate, and the step. It returns all
// rates.
func parseSweep(text string) ([]float64, error) {
	parts := strings.Split(text, ":")
	if len(parts) != 3 {
		return nil, fmt.Errorf("sweep %q: want FROM:TO:STEP, such as 10k:100k:10k", text)
	}
	var of [3]float64
	for i, part := range parts {
		scale := 1.0
		if digits, ok := strings.CutSuffix(part, "k"); ok {
			part, scale = digits, 1000
		}
		v, err := strconv.ParseFloat(part, 64)
		of[i] = v * scale
		if err != nil || !(of[i] >= stress.MinRate && of[i] <= stress.MaxRate) {
			return nil, fmt.Errorf("sweep %q: %q is not a rate from %v to %d per second", text, parts[i], stress.MinRate, stress.MaxRate)
		}
	}
	n := (of[1]-of[0])/of[2] + 1
	if !(n >= 1 && n <= maxSteps) {
		return nil, fmt.Errorf("sweep %q: 1 to %d rates are possible", text, maxSteps)
	}
	rates := make([]float64, int(n+1e-9))
	for i := range rates {
		rates[i] = of[0] + float64(i)*of[2]
	}
	return rates, nil
}

// sweepRates measures at one rate after the other, each with results of its own below dir. Then it
// prints and draws all of them together. After an interruption or an error it does so with the
// completed ones.
func (l *load) sweepRates(ctx context.Context, stores []kivaloo.Store, plan stress.Plan, rates []float64, dir string, out, progress io.Writer) error {
	w := results.Sweep{Format: results.Format, Config: l.config(plan), Host: results.ThisHost()}
	w.Config.Arrivals = l.arrivals
	var failed error
	for _, rate := range rates {
		plan.Rate = rate
		name := results.StepDir(rate)
		o, s, err := l.measure(ctx, stores, plan, filepath.Join(dir, name), progress)
		if o != nil {
			err = errors.Join(err, o.Err())
		}
		if err != nil {
			failed = fmt.Errorf("at %s per second: %w", name, err)
			break
		}
		if o.Cut {
			break
		}
		w.Add(s)
	}
	if len(w.Steps) == 0 {
		if failed == nil {
			failed = errors.New("interrupted before the first rate was done")
		}
		return failed
	}
	return errors.Join(w.Write(dir), w.Table(out), l.draw(dir, out), failed)
}
