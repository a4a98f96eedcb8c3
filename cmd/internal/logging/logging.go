package logging

import (
	"io"
	"log/slog"
	"strings"
)

// Forms are the formats of a log: lines of key=value pairs, or of JSON objects.
var Forms = []string{"text", "json"}

// Levels are the lowest levels that a log may show.
var Levels = []string{"debug", "info", "warn", "error"}

// New returns a log that writes to w, in one of Forms, with the lowest level level.
func New(w io.Writer, form, level string) *slog.Logger {
	o := &slog.HandlerOptions{Level: Level(level)}
	if form == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

// Level returns the level with a name from Levels.
func Level(name string) slog.Level {
	var l slog.Level
	if err := l.UnmarshalText([]byte(strings.ToUpper(name))); err != nil {
		panic(err) // not one of Levels
	}
	return l
}
