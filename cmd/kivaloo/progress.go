package main

import (
	"io"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"kivaloo/cmd/internal/dumpstream"
)

// meter shows the progress of a dump, load, backup, restore or salvage on a terminal. A nil meter
// shows nothing. Only one goroutine may use it.
type meter struct {
	progress *mpb.Progress
	bar      *mpb.Bar
	inBytes  bool // the bar counts bytes of a known total, not pairs
}

// newMeter returns a meter on w, or nil if that is not a terminal. With a total, in bytes, it shows
// the completed part. Without one it shows pairs and their rate.
func newMeter(w io.Writer, verb string, total int64) *meter {
	if !isTerminal(w) {
		return nil
	}
	m := &meter{progress: mpb.New(mpb.WithOutput(w)), inBytes: total > 0}
	if m.inBytes {
		m.bar = m.progress.AddBar(total,
			mpb.PrependDecorators(decor.Name(verb+" "), decor.CountersKibiByte("% .1f / % .1f")),
			mpb.AppendDecorators(decor.Percentage(), decor.AverageSpeed(decor.SizeB1024(0), " % .1f"), decor.AverageETA(decor.ET_STYLE_GO, decor.WC{W: 6})))
	} else {
		m.bar = m.progress.AddSpinner(0,
			mpb.PrependDecorators(decor.Name(verb+" ")),
			mpb.AppendDecorators(decor.CurrentNoUnit("%d pairs"), decor.AverageSpeed(0, ", %.0f pairs/s")))
	}
	return m
}

// newBlockMeter returns a meter of blocks on w, or nil if that is not a terminal.
func newBlockMeter(w io.Writer, verb string) *meter {
	if !isTerminal(w) {
		return nil
	}
	m := &meter{progress: mpb.New(mpb.WithOutput(w))}
	m.bar = m.progress.AddBar(0,
		mpb.PrependDecorators(decor.Name(verb+" "), decor.CountersNoUnit("%d / %d blocks")),
		mpb.AppendDecorators(decor.Percentage(), decor.AverageSpeed(0, " %.0f/s"), decor.AverageETA(decor.ET_STYLE_GO, decor.WC{W: 6})))
	return m
}

// showBlocks shows how many of all blocks have been read.
func (m *meter) showBlocks(done, of uint64) {
	if m == nil {
		return
	}
	m.bar.SetTotal(int64(of), false)
	m.bar.SetCurrent(int64(done))
}

// update is called after each pair with the progress so far.
func (m *meter) update(done dumpstream.Count) {
	if done.Pairs%progressPairs == 0 {
		m.show(done)
	}
}

// show shows the progress so far.
func (m *meter) show(done dumpstream.Count) {
	if m == nil {
		return
	}
	if m.inBytes {
		m.bar.SetCurrent(done.Bytes)
	} else {
		m.bar.SetCurrent(done.Pairs)
	}
}

// stop removes the meter from the terminal.
func (m *meter) stop() {
	if m == nil {
		return
	}
	m.bar.Abort(true)
	m.progress.Wait()
}
