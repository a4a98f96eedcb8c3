package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"kivaloo/cmd/internal/commandline"
	"kivaloo/cmd/internal/connect"
	"kivaloo/cmd/internal/outcheck"
	"kivaloo/cmd/internal/version"
)

// Exit statuses.
const (
	exitDone      = 0
	exitError     = 1
	exitNotDone   = 3 // the key is absent, or a condition did not hold
	exitUncertain = 4 // salvage made a store, but not all of it is certain
	exitGone      = 5 // the changes after a position are no longer available
)

// notDone is the error of a command that worked, but found no key or a condition that does not
// hold.
type notDone string

func (e notDone) Error() string { return string(e) }

// uncertain is the error of a salvage that made a store but could not save everything with
// certainty. It says what is wrong.
type uncertain string

func (e uncertain) Error() string { return string(e) }

// gone is the error of a watch from a position whose changes are no longer available. It says what
// to do.
type gone string

func (e gone) Error() string { return string(e) }

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run runs the whole program and returns its exit status.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := newRootCommand()
	root.SetArgs(append([]string{}, args...)) // not nil, which would mean os.Args
	root.SetIn(stdin)
	out := outcheck.New(stdout)
	root.SetOut(out)
	root.SetErr(stderr)
	err := out.Check(root.Execute())
	if err == nil {
		return exitDone
	}
	// Errors of the library begin with its name, which is also that of the command.
	fmt.Fprintf(stderr, "kivaloo: %s\n", strings.ReplaceAll(commandline.ErrorText(err), "\n", "; "))
	switch {
	case errors.As(err, new(notDone)):
		return exitNotDone
	case errors.As(err, new(uncertain)):
		return exitUncertain
	case errors.As(err, new(gone)):
		return exitGone
	}
	return exitError
}

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "kivaloo",
		Short: "A durable, ordered key-value store for small pairs",
		Long: `Kivaloo is a durable, strongly consistent, ordered store of small pairs: keys and
values of up to 255 bytes each. A change that has been acknowledged survives any
crash.

The commands connect to the server at the unix socket
` + defaultAddr + ` unless --addr or the environment variable ` + addrVariable + `
names another. An address with a slash is a path; a directory stands for the socket in
it. Any other address is host:port or [ip]:port.

` + connect.Environment + `

The exit status is 0 for success, 1 for an error, 3 if a key does not exist or a
condition does not hold, 4 if salvage made OUT but not all in it is certain, and 5 if the
changes that watch is to print are no longer kept.`,
		Example: `  kivaloo set greeting hello      store a pair
  kivaloo get greeting            print its value
  kivaloo range                   print all pairs in order
  kivaloo backup ./kivaloo-data store.backup`,
		Version:       version.Of().String(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs, // so that RunE can explain what is wrong with them

		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              runRoot,
	}
	root.SetVersionTemplate("kivaloo {{.Version}}\n")
	root.SetFlagErrorFunc(commandline.FlagError)
	root.SuggestionsMinimumDistance = 2 // how many letters may be wrong

	addCommands(root, "Run a store:",
		newServeCommand(),
		newTopCommand(),
	)
	addCommands(root, "Read and change pairs:",
		newGetCommand(),
		newSetCommand(),
		newAddCommand(),
		newModifyCommand(),
		newCASCommand(),
		newDeleteCommand(),
		newCADCommand(),
		newRangeCommand(),
		newCountCommand(),
		newWatchCommand(),
		newParamsCommand(),
	)
	addCommands(root, "Look into the directory of a stopped store:",
		newCheckCommand(),
		newPageCommand(),
		newSalvageCommand(),
	)
	addCommands(root, "Move whole stores:",
		newDumpCommand(),
		newLoadCommand(),
		newExportCommand(),
		newImportCommand(),
		newBackupCommand(),
		newRestoreCommand(),
	)
	root.AddCommand(newVersionCommand(), commandline.Man())
	return root
}

// suggestions returns the commands that may be meant by name: the one with that name in other
// programs, or else those with a similar spelling.
func suggestions(root *cobra.Command, name string) []string {
	for _, cmd := range root.Commands() {
		if slices.Contains(cmd.SuggestFor, strings.ToLower(name)) {
			return []string{cmd.Name()}
		}
	}
	return root.SuggestionsFor(name)
}

// addCommands adds commands that help lists under title.
func addCommands(root *cobra.Command, title string, commands ...*cobra.Command) {
	root.AddGroup(&cobra.Group{ID: title, Title: title})
	for _, cmd := range commands {
		cmd.GroupID = title
		root.AddCommand(cmd)
	}
}

// runRoot is called if no command has the given name.
func runRoot(root *cobra.Command, args []string) error {
	if len(args) == 0 {
		return root.Help()
	}
	hint := ""
	if names := suggestions(root, args[0]); len(names) > 0 {
		hint = fmt.Sprintf(" (did you mean %s?)", strings.Join(names, " or "))
	}
	return commandline.Usage(root, fmt.Errorf("there is no command %q%s", args[0], hint))
}
