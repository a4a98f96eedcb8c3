package blackbox

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"kivaloo/cmd/internal/daemon/daemontest"
	"kivaloo/internal/must"
)

// TestDumpAndBackupAreToldApart checks that no part of a backup is loaded as a dump, or of a dump
// restored as a backup. The error must name the right command.
func TestDumpAndBackupAreToldApart(t *testing.T) {
	t.Parallel()
	s := newServe(t)
	s.start(t)
	for _, pairs := range []int{0, 1, 2, 200} {
		t.Run(fmt.Sprint(pairs), func(t *testing.T) {
			c := connect(t, s.addr())
			for i := range pairs {
				must.Do(t, c.Set(fmt.Sprintf("key %03d", i), strings.Repeat("v", i)))
			}
			place := daemontest.Place(t)
			dump, backup := filepath.Join(place, "dump"), filepath.Join(place, "backup")
			kivaloo(t, "", "dump", "-a", s.addr(), "-o", dump).want(t, 0, "", "dumped")
			kivaloo(t, "", "backup", s.addr(), backup).want(t, 0, "", "backed up")
			before, err := os.ReadFile(dump)
			must.Do(t, err)

			const restoreIt = "the input is a backup, not a dump: `kivaloo restore FILE DIR` makes a store of it; nothing was stored"
			kivaloo(t, "", "load", "-a", s.addr(), "-i", backup).want(t, 1, "", restoreIt)
			in, err := os.Open(backup)
			must.Do(t, err)
			defer in.Close()
			undump := exec.Command(daemontest.Program("kivaloo-kvlds-undump"), "-t", s.addr())
			undump.Stdin = in
			runCommand(t, undump).want(t, 1, "", restoreIt)
			kivaloo(t, "", "dump", "-a", s.addr(), "-o", "-").want(t, 0, string(before), "dumped")

			says := "the input is a dump, not a backup: store its pairs with `kivaloo load`"
			if pairs == 0 {
				says = "bad backup: it is incomplete" // an empty input is neither
			}
			kivaloo(t, "", "restore", dump, filepath.Join(place, "new")).want(t, 1, "", says)
			if _, err := os.Lstat(filepath.Join(place, "new")); !os.IsNotExist(err) {
				t.Errorf("there is a store: %v", err)
			}
		})
	}
}
