package main

import (
	"strings"
	"testing"

	"kivaloo/tree"
)

// What check says of a journal: nothing of marks before the root, which older versions have left there.
func TestPrintJournal(t *testing.T) {
	for _, tc := range []struct {
		journal tree.Journal
		want    string
	}{
		{tree.Journal{}, ""},
		{tree.Journal{Batches: 1, Blocks: 1, Kept: true}, ""},
		{tree.Journal{Batches: 1, Blocks: 1, Behind: 1, Kept: true}, "the original refuses this store"},
		{tree.Journal{Batches: 1, Changes: 2, Blocks: 1, Behind: 1, Kept: true}, "the original refuses this store"},
		{tree.Journal{Batches: 1, Changes: 2, Blocks: 1, Kept: true}, "the original does not see these changes"},
	} {
		var out strings.Builder
		printJournal(&out, "dir", 512, &tc.journal)
		if said := out.String(); !strings.Contains(said, tc.want) || (said == "") != (tc.want == "") {
			t.Errorf("%+v: %q", tc.journal, said)
		}
	}
}
