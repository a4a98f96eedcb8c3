package main

import (
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/sys/unix"

	"kivaloo/stress"
	"kivaloo/stress/results"
)

// meter shows the progress of a load: a bar on a terminal, otherwise an occasional line.
type meter struct {
	out      io.Writer
	what     string
	progress *mpb.Progress // nil: lines
	bar      *mpb.Bar
	state    atomic.Pointer[string]
}

// barSteps is the number of steps of the bar.
const barSteps = 1000

// followInterval is the interval at which follow calls look.
const followInterval = time.Second

func newMeter(out io.Writer, what string) *meter {
	m := &meter{out: out, what: what}
	m.state.Store(new(string))
	if isTerminal(out) {
		m.progress = mpb.New(mpb.WithOutput(out))
		m.bar = m.progress.AddBar(barSteps, mpb.BarRemoveOnComplete(),
			mpb.PrependDecorators(decor.Name(what+" ")),
			mpb.AppendDecorators(decor.Any(func(decor.Statistics) string { return *m.state.Load() })))
	}
	return m
}

// show shows the completed part of the work, and its state.
func (m *meter) show(part float64, state string) {
	if m.progress == nil {
		fmt.Fprintf(m.out, "%s: %s\n", m.what, state)
		return
	}
	m.state.Store(&state)
	m.bar.SetCurrent(int64(min(part, 1) * (barSteps - 1))) // only stop completes the bar
}

// interval shows an interval of a load with a plan.
func (m *meter) interval(v *stress.Interval, p stress.Plan) {
	t := results.TimesOf(v.All.Response, v.All.Failed)
	state := fmt.Sprintf("%.0f/s  p50 %s  p99 %s  p99.9 %s  errors %d", v.Rate(), results.Duration(t.P50), results.Duration(t.P99),
		results.Duration(t.P999), v.All.Failed)
	done, part := v.Start+v.Length, 0.0
	if p.Duration > 0 {
		part = done.Seconds() / p.Duration.Seconds()
		state += fmt.Sprintf("  %.0f s left", (p.Duration - done).Seconds())
	}
	m.show(part, state)
}

// follow shows the result of look every second, until stop is called.
func (m *meter) follow(look func() (part float64, state string)) (stop func()) {
	ended, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		ticker := time.NewTicker(followInterval)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				m.show(look())
			case <-ended:
				return
			}
		}
	}()
	return func() {
		close(ended)
		<-done
		m.stop()
	}
}

// stop removes the bar from the terminal.
func (m *meter) stop() {
	if m.progress != nil {
		m.bar.Abort(true)
		m.progress.Wait()
	}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
