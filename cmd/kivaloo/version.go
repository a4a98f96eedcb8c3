package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

func newVersionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print which version this is",
		Args:  arguments(0),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), version())
			return err
		},
	}
}

// version says what this program was built from and with.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{GoVersion: runtime.Version()}
	}
	return describe(info) + " " + runtime.GOOS + "/" + runtime.GOARCH
}

func describe(info *debug.BuildInfo) string {
	name, revision, modified := info.Main.Version, "unknown", ""
	if name == "" {
		name = "(devel)"
	}
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			revision = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			modified = " with local changes"
		}
	}
	return fmt.Sprintf("kivaloo %s, revision %s%s, %s", name, revision, modified, info.GoVersion)
}
