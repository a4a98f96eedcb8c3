package daemon

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"kivaloo/cmd/internal/logging"
)

// handler writes log records in the format of the original daemons' diagnostics: "program: message"
// followed by attributes, one write per line.
type handler struct {
	level  slog.Level
	other  slog.Handler // writes records in another format; may be nil
	prefix string       // "program: "
	attrs  string       // added by With, each as " key=value"
	mu     *sync.Mutex
	w      io.Writer
}

func newHandler(w io.Writer, base string) *handler {
	return &handler{level: slog.LevelInfo, prefix: base + ": ", mu: new(sync.Mutex), w: w}
}

func (h *handler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.level
}

func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	if h.other != nil {
		return h.other.Handle(ctx, r)
	}
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
	if h.other != nil {
		with.other = h.other.WithAttrs(attrs)
	}
	for _, a := range attrs {
		with.attrs += attr(a)
	}
	return &with
}

// WithGroup does nothing: the lines are short and for people.
func (h *handler) WithGroup(string) slog.Handler { return h }

// attr formats an attribute. An error follows a colon, where the original prints the system's
// error.
func attr(a slog.Attr) string {
	if err, ok := a.Value.Any().(error); ok {
		return ": " + err.Error()
	}
	return fmt.Sprintf(" %s=%v", a.Key, a.Value)
}

// LogOptions adds the options --log-format and --log-level. Without them a daemon logs as the
// original does.
func (p *Program) LogOptions() {
	h := p.Log.Handler().(*handler)
	p.Long("log-format", false, func(form string) error {
		if err := oneOf(form, logging.Forms); err != nil {
			return err
		}
		h.other = logging.New(h.w, form, logging.Levels[0]).Handler() // Enabled decides
		return nil
	})
	p.Long("log-level", false, func(level string) error {
		if err := oneOf(level, logging.Levels); err != nil {
			return err
		}
		h.level = logging.Level(level)
		return nil
	})
}

func oneOf(word string, words []string) error {
	if !slices.Contains(words, word) {
		return fmt.Errorf("%q is none of %s", word, strings.Join(words, ", "))
	}
	return nil
}
