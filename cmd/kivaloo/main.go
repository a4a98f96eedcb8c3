package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"kivaloo/cmd/internal/outcheck"
)

// Exit statuses.
const (
	exitDone    = 0
	exitError   = 1
	exitNotDone = 3 // the key is absent, or a condition did not hold
)

// notDone is the error of a command that worked, but found no key or a condition
// that does not hold. It says what.
type notDone string

func (e notDone) Error() string { return string(e) }

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is the whole program: it returns the exit status.
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
	fmt.Fprintf(stderr, "kivaloo: %s\n", strings.ReplaceAll(err.Error(), "\n", "; "))
	if errors.As(err, new(notDone)) {
		return exitNotDone
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

The commands talk to a server, which is expected at the unix socket
` + defaultAddr + ` unless --addr or the environment variable
` + addrVariable + ` says otherwise.

Exit status: 0 done, 1 error, 3 the key is absent or the condition did not hold.`,
		Example: `  kivaloo set greeting hello      store a pair
  kivaloo get greeting            print its value
  kivaloo range                   print all pairs in order
  kivaloo dump -o store.dump      save everything to a file`,
		Version:       version(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs, // so that RunE can say what is wrong with them
		RunE:          runRoot,
	}
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetFlagErrorFunc(usageError)
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SuggestionsMinimumDistance = 2 // letters that may be wrong

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
		newParamsCommand(),
	)
	addCommands(root, "Look into the directory of a store that is not running:",
		newCheckCommand(),
		newPageCommand(),
	)
	addCommands(root, "Move whole stores:",
		newDumpCommand(),
		newLoadCommand(),
		newBackupCommand(),
		newRestoreCommand(),
	)
	root.AddCommand(newVersionCommand())
	return root
}

// addCommands adds commands that help lists under title.
func addCommands(root *cobra.Command, title string, commands ...*cobra.Command) {
	root.AddGroup(&cobra.Group{ID: title, Title: title})
	for _, cmd := range commands {
		cmd.GroupID = title
		root.AddCommand(cmd)
	}
}

// runRoot is called when no command has the name that was given.
func runRoot(root *cobra.Command, args []string) error {
	if len(args) == 0 {
		return root.Help()
	}
	hint := ""
	if names := root.SuggestionsFor(args[0]); len(names) > 0 {
		hint = fmt.Sprintf(" (did you mean %s?)", strings.Join(names, " or "))
	}
	return usageError(root, fmt.Errorf("there is no command %q%s", args[0], hint))
}

// usageError adds where to find help to an error in the command line.
func usageError(cmd *cobra.Command, err error) error {
	return fmt.Errorf("%w; see `%s --help`", err, cmd.CommandPath())
}

// arguments returns a check that there are at least min arguments and no more than
// names.
func arguments(min int, names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < min:
			return usageError(cmd, fmt.Errorf("%s is missing", names[len(args)]))
		case len(args) > len(names):
			return usageError(cmd, fmt.Errorf("there is an argument too many, %q", args[len(names)]))
		}
		return nil
	}
}

// checkNotEmpty refuses arguments that are empty, as a variable of the shell that is not set leaves them.
func checkNotEmpty(cmd *cobra.Command, args []string, names ...string) error {
	for i, arg := range args {
		if arg == "" {
			return usageError(cmd, fmt.Errorf("%s is empty", names[i]))
		}
	}
	return nil
}
