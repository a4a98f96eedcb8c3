package kivaloo_test

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	kv "kivaloo"
)

// TestDBScrubs checks that a DB finds and reports a bad block that nobody reads.
func TestDBScrubs(t *testing.T) {
	if os.Getenv("KIVALOO_TORTURE") == "" {
		t.Skip("a scrub begins after a minute: set KIVALOO_TORTURE")
	}
	dir := damageStore(t, 600)
	log := &lockedBuffer{}
	db := openDB(t, dir, kv.Options{StorageCost: -1, Log: slog.New(slog.NewTextHandler(log, nil))})
	off := openDB(t, damageStore(t, 600), kv.Options{StorageCost: -1, ScrubRate: -1})
	blocks, _ := blockFilesOf(t, dir)
	flip(t, blocks[0], damageBlock/2)
	time.Sleep(62 * time.Second)
	s := db.Stats()
	if s.ScrubPasses != 1 || s.ScrubBytes == 0 || s.ScrubProgress != 1 || s.DamagedBlocks != 1 {
		t.Errorf("%+v", s)
	}
	if said := log.String(); strings.Count(said, "scrub:") != 1 || !strings.Contains(said, fmt.Sprintf("file=%s offset=0", blocks[0])) {
		t.Errorf("log %q", said)
	}
	if s := off.Stats(); s.ScrubBytes != 0 {
		t.Errorf("without: %+v", s)
	}
}
