package commandline

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Usage adds a pointer to the help to an error about the command line.
func Usage(cmd *cobra.Command, err error) error {
	return fmt.Errorf("%w; see `%s --help`", err, cmd.CommandPath())
}

// FlagError is for cobra's SetFlagErrorFunc. It keeps Go internals out of the message.
func FlagError(cmd *cobra.Command, err error) error {
	var invalid *pflag.InvalidValueError
	if errors.As(err, &invalid) && invalid.GetFlag().Value.Type() == "bool" {
		err = fmt.Errorf("invalid argument %q for --%s: want true or false", invalid.GetValue(), invalid.GetFlag().Name)
	}
	return Usage(cmd, err)
}

// Arguments returns a check that there are at least min arguments and at most one for each name.
func Arguments(min int, names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > len(names) {
			return Usage(cmd, fmt.Errorf("unexpected argument %q", args[len(names)]))
		}
		return AtLeast(min, names...)(cmd, args)
	}
}

// AtLeast returns a check that there are at least min arguments.
func AtLeast(min int, names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < min {
			return Usage(cmd, fmt.Errorf("%s is missing", names[len(args)]))
		}
		return nil
	}
}

// NotEmpty refuses empty arguments. An unset shell variable leaves one.
func NotEmpty(cmd *cobra.Command, args []string, names ...string) error {
	for i, arg := range args {
		if arg == "" {
			return Usage(cmd, fmt.Errorf("%s is empty", names[i]))
		}
	}
	return nil
}
