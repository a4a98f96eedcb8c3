package kivaloo_test

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"kivaloo"
	"kivaloo/internal/must"
	"kivaloo/wire/wiretest"
)

// TestConnEvents checks the events and counters of a Client's connection.
func TestConnEvents(t *testing.T) {
	var mu sync.Mutex
	var log bytes.Buffer
	var events []kivaloo.ConnEvent
	seen := func(kinds ...kivaloo.ConnEventKind) func() bool {
		return func() bool {
			mu.Lock()
			defer mu.Unlock()
			if len(events) < len(kinds) {
				return false
			}
			for i, kind := range kinds {
				if events[i].Kind != kind || (kind == kivaloo.ConnLost) != (events[i].Err != nil) || events[i].Time.IsZero() {
					t.Fatalf("event %d: %+v, want %v", i, events[i], kind)
				}
			}
			return true
		}
	}
	s := &wiretest.Server{Extensions: true}
	c := dialFake(t, s, kivaloo.DialOptions{
		Reconnect: true,
		Timeout:   time.Minute,
		Log:       slog.New(slog.NewTextHandler(&log, nil)),
		OnEvent: func(e kivaloo.ConnEvent) {
			mu.Lock()
			defer mu.Unlock()
			events = append(events, e)
		},
	})
	eventually(t, seen(kivaloo.ConnConnected))
	must.Do(t, c.Set(within(t), []byte("k"), []byte("v")))
	s.HangUp()
	eventually(t, seen(kivaloo.ConnConnected, kivaloo.ConnLost, kivaloo.ConnReconnected))
	must.Do(t, c.Set(within(t), []byte("k"), []byte("v")))
	want := kivaloo.ClientStats{Requests: 2, Answers: 2, Window: kivaloo.MaxOutstanding, Connects: 2, Losses: 1, Connected: true, Extensions: true}
	if got := c.Stats(); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	must.Do(t, c.Close())
	if got := c.Stats(); got.Connected || got.Losses != 1 || got.Outstanding != 0 {
		t.Errorf("after Close: %+v", got)
	}
	for _, line := range []string{"msg=connected", `msg="connection lost"`, "msg=reconnected"} {
		if !strings.Contains(log.String(), line) {
			t.Errorf("the log has no %s:\n%s", line, &log)
		}
	}
}

// TestErrorsBeginOnce checks that an error begins with the package's name exactly once.
func TestErrorsBeginOnce(t *testing.T) {
	c := dialFake(t, &wiretest.Server{})
	db := openDB(t, t.TempDir(), kivaloo.Options{NoSync: true})
	_, dialErr := kivaloo.Dial(within(t), t.TempDir()+"/nothing", kivaloo.DialOptions{})
	_, missing := db.Get(t.Context(), []byte("k"))
	var b kivaloo.Batch
	b.RequirePresent([]byte("k"))
	_, openErr := kivaloo.Open(t.TempDir(), kivaloo.Options{ReadOnly: true})
	_, optionErr := kivaloo.Open(t.TempDir(), kivaloo.Options{BlockSize: 1})
	for _, err := range []error{
		dialErr, missing, openErr, optionErr,
		db.Apply(t.Context(), &b),
		c.Apply(t.Context(), &b),
		db.Set(t.Context(), make([]byte, 256), nil),
		drain(db.Scan(t.Context(), kivaloo.ScanOptions{Start: make([]byte, 256)})),
	} {
		if err == nil || !strings.HasPrefix(err.Error(), "kivaloo: ") || strings.Count(err.Error(), "kivaloo: ") != 1 {
			t.Errorf("%v", err)
		}
	}
	if !errors.Is(missing, kivaloo.ErrNotFound) {
		t.Error(missing)
	}
}
