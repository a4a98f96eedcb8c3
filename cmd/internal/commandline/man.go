package commandline

import (
	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"kivaloo/cmd/internal/version"
)

// Man returns the hidden command that writes the manual pages of the whole program.
func Man() *cobra.Command {
	return &cobra.Command{
		Use:               "man DIR",
		Short:             "Write the manual pages to a directory",
		Long:              `Write a manual page for each command to DIR, for packages.`,
		Hidden:            true,
		Args:              Arguments(1, "DIR"),
		ValidArgsFunction: InOrder(Directories),
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			root.DisableAutoGenTag = true
			return doc.GenManTree(root, &doc.GenManHeader{Section: "1", Source: "kivaloo " + version.Release, Manual: "Kivaloo"}, args[0])
		},
	}
}
