package logging

import (
	"io"
	"log/slog"
	"strings"
)

// Forms are the forms of a log: lines of key=value, or of JSON objects.
var Forms = []string{"text", "json"}

// Levels are the levels from which on lines are logged.
var Levels = []string{"debug", "info", "warn", "error"}

// New returns a log that goes to w, in one of Forms, from one of Levels on.
func New(w io.Writer, form, level string) *slog.Logger {
	o := &slog.HandlerOptions{Level: Level(level)}
	if form == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

// Level returns the level of that name, which is one of Levels.
func Level(name string) slog.Level {
	var l slog.Level
	if err := l.UnmarshalText([]byte(strings.ToUpper(name))); err != nil {
		panic(err) // it is none of Levels
	}
	return l
}
