package linear

import (
	"fmt"
	"os"
	"testing"

	"kivaloo/cmd/internal/daemon/daemontest"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(keepDir); dir != "" {
		if err := keep(dir, os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	daemontest.Main(m, "kivaloo/cmd/kivaloo", "kivaloo/cmd/kivaloo-lbs", "kivaloo/cmd/kivaloo-kvlds", "kivaloo/cmd/kivaloo-mux")
}
