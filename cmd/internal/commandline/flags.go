package commandline

import (
	"errors"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// text is a flag whose argument has its own name in help.
type text struct {
	to   *string
	kind string
}

func (t *text) Set(s string) error { *t.to = s; return nil }
func (t *text) Type() string       { return t.kind }

func (t *text) String() string {
	if t.to == nil {
		return ""
	}
	return *t.to
}

// Text adds a flag for any text. kind names its argument in help. *to has the default, and short
// may be empty.
func Text(f *pflag.FlagSet, to *string, name, short, kind, usage string) {
	f.VarP(&text{to, kind}, name, short, usage)
}

// texts is a flag that may be repeated.
type texts struct {
	to   *[]string
	kind string
}

func (t *texts) Set(s string) error { *t.to = append(*t.to, s); return nil }
func (t *texts) Type() string       { return t.kind }

func (t *texts) String() string {
	if t.to == nil {
		return ""
	}
	return strings.Join(*t.to, ", ")
}

// Texts adds a flag for any text that may be repeated.
func Texts(f *pflag.FlagSet, to *[]string, name, kind, usage string) {
	f.Var(&texts{to, kind}, name, usage)
}

// choice is a flag for one of several words.
type choice struct {
	to    *string
	words []string
}

func (c *choice) Set(s string) error {
	if !slices.Contains(c.words, s) {
		last := len(c.words) - 1
		return errors.New("want " + strings.Join(c.words[:last], ", ") + " or " + c.words[last])
	}
	*c.to = s
	return nil
}

func (c *choice) Type() string { return strings.Join(c.words, "|") }

func (c *choice) String() string {
	if c.to == nil {
		return ""
	}
	return *c.to
}

// Choice adds a flag for one of words, with completion. *to has the default.
func Choice(cmd *cobra.Command, to *string, name, usage string, words ...string) {
	cmd.Flags().Var(&choice{to, words}, name, usage)
	Complete(cmd, name, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
}

// Complete makes f complete a flag.
func Complete(cmd *cobra.Command, name string, f cobra.CompletionFunc) {
	if err := cmd.RegisterFlagCompletionFunc(name, f); err != nil {
		panic(err) // no such flag
	}
}

// Directories completes names of directories.
func Directories(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveFilterDirs
}

// Files completes names of files.
func Files(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveDefault
}

// InOrder completes each argument by the function at its position, and nothing after the last.
func InOrder(each ...cobra.CompletionFunc) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		if len(args) >= len(each) {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return each[len(args)](cmd, args, begun)
	}
}
