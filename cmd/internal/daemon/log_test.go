package daemon

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
)

func TestLog(t *testing.T) {
	var b strings.Builder
	log := slog.New(newHandler(&b, "kivaloo-lbs"))
	log.Debug("not shown")
	log.Info("listening", "on", "/tmp/s", "backlog", 10)
	log.With("conn", 7).Warn("cannot accept", "err", errors.New("too many\nopen files"))
	want := "kivaloo-lbs: listening on=/tmp/s backlog=10\n" +
		"kivaloo-lbs: cannot accept conn=7: too many open files\n"
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
}
