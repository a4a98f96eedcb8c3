package daemon

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
)

// handler writes log records in the form of the original daemons' diagnostics:
// "program: message", with attributes behind it, in one write per line.
type handler struct {
	prefix string // "program: "
	attrs  string // what With has added, each " key=value"
	mu     *sync.Mutex
	w      io.Writer
}

func newHandler(w io.Writer, base string) *handler {
	return &handler{prefix: base + ": ", mu: new(sync.Mutex), w: w}
}

func (h *handler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= slog.LevelInfo
}

func (h *handler) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	b.WriteString(h.prefix + r.Message + h.attrs)
	r.Attrs(func(a slog.Attr) bool {
		b.WriteString(attr(a))
		return true
	})
	h.mu.Lock()
	defer h.mu.Unlock()
	_, err := io.WriteString(h.w, strings.ReplaceAll(b.String(), "\n", " ")+"\n")
	return err
}

func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := *h
	for _, a := range attrs {
		with.attrs += attr(a)
	}
	return &with
}

// WithGroup does nothing: the lines are for people, and short.
func (h *handler) WithGroup(string) slog.Handler { return h }

// attr is an attribute as it stands behind the message. An error comes behind a
// colon, where the original puts the system's error.
func attr(a slog.Attr) string {
	if err, ok := a.Value.Any().(error); ok {
		return ": " + err.Error()
	}
	return fmt.Sprintf(" %s=%v", a.Key, a.Value)
}
