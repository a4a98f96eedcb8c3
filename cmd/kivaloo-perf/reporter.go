package main

import (
	"log/slog"
	"time"

	"kivaloo/cmd/internal/logfile"
)

// reporter writes windows to the log, on a goroutine of its own.
type reporter struct {
	windows     chan *window
	ended       chan struct{}
	file        *logfile.File
	now         func() time.Time
	diagnostics *slog.Logger

	// Whether the last attempt failed. A repeated failure is reported only once.
	writeFails, followFails bool
}

// startReporter returns a reporter that owns file. Errors of the file go to diagnostics: they are
// no reason to stop serving.
func startReporter(file *logfile.File, now func() time.Time, diagnostics *slog.Logger) *reporter {
	r := &reporter{
		windows: make(chan *window, maxWaitingWindows), ended: make(chan struct{}),
		file: file, now: now, diagnostics: diagnostics,
	}
	go r.run()
	return r
}

// report passes a window on to be logged. It does not wait.
func (r *reporter) report(w *window) {
	select {
	case r.windows <- w:
	default:
		r.diagnostics.Warn("the log takes too long to be written, a line is left out")
	}
}

// close returns when all reported windows are in the log, or could not be written.
func (r *reporter) close() {
	close(r.windows)
	<-r.ended
}

func (r *reporter) run() {
	defer close(r.ended)
	defer r.file.Close()
	ticker := time.NewTicker(logfile.FollowEvery)
	defer ticker.Stop()
	for {
		select {
		case w, ok := <-r.windows:
			if !ok {
				return
			}
			r.check(&r.writeFails, r.file.Write(r.now(), w.line()))
		case <-ticker.C:
			r.check(&r.followFails, r.file.Follow())
		}
	}
}

// check reports an error, unless the previous attempt has failed too.
func (r *reporter) check(fails *bool, err error) {
	if err != nil && !*fails {
		r.diagnostics.Warn("a line may be missing in the log, or in another file", "err", err)
	}
	*fails = err != nil
}
