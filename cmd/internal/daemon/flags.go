package daemon

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"kivaloo/cmd/internal/version"
)

// Reasons for which reading a command line ends that are not about an option's value.
var (
	// errVersion means that --version was given.
	errVersion = errors.New("version wanted")
	// errUsage means that the command line does not match the usage.
	errUsage = errors.New("usage")
)

// noArgument stands for the argument of an option without one. It cannot occur in a command line.
const noArgument = "\x00"

// flags is the command line of a daemon.
//
// pflag requires a long name for every option. The original's options have none, so each is called
// "-" and its letter. pflag does not accept "---s" on the command line.
type flags struct {
	usage     string
	set       *pflag.FlagSet
	mandatory []string    // letters
	exclusive [][2]string // letters
}

func newFlags(usage string) flags {
	set := pflag.NewFlagSet("", pflag.ContinueOnError)
	set.SetInterspersed(false)
	set.Usage = func() {} // refuse prints it
	return flags{usage: usage, set: set}
}

// option is one option of a command line, as pflag sees it.
type option struct {
	name   string // for messages: "-b", "--version"
	take   func(s string) error
	given  bool
	repeat bool // may be given again
}

func (o *option) String() string { return "" }
func (o *option) Type() string   { return "" }

func (o *option) Set(s string) error {
	if o.given && !o.repeat {
		return fmt.Errorf("%w: option given twice -- %s", errUsage, o.name)
	}
	o.given = true
	return o.take(s)
}

// Text adds an option whose argument is taken unchanged.
func (p *Program) Text(dst *string, letter string) {
	p.argument(letter, func(s string) error { *dst = s; return nil })
}

// ManySockets allows -s any number of times.
func (p *Program) ManySockets() {
	o := p.flags.set.Lookup("-s").Value.(*option)
	o.repeat = true
	o.take = func(s string) error {
		p.Sockets = append(p.Sockets, s)
		p.Socket = p.Sockets[0]
		return nil
	}
}

// Long adds an option with only a long name and an argument. take receives the argument. With
// repeat the option may be given again.
func (p *Program) Long(name string, repeat bool, take func(s string) error) {
	p.flags.set.Var(&option{name: "--" + name, take: take, repeat: repeat}, name, "")
}

// LongSwitch adds an option with only a long name and no argument.
func (p *Program) LongSwitch(dst *bool, name string) {
	p.long(name, func() error { *dst = true; return nil })
}

// Number adds an option that takes a whole number from min to max.
func (p *Program) Number(dst *int, letter string, min, max int) {
	p.argument(letter, func(s string) (err error) {
		*dst, err = parseNumber(s, min, max)
		return err
	})
}

// Size adds an option that takes a number with an optional SI prefix.
func (p *Program) Size(dst *uint64, letter string, min, max uint64) {
	p.argument(letter, func(s string) (err error) {
		*dst, err = parseSize(s, min, max)
		return err
	})
}

// LongSize is Size for an option with only a long name.
func (p *Program) LongSize(dst *uint64, name string, min, max uint64) {
	p.Long(name, false, func(s string) (err error) {
		*dst, err = parseSize(s, min, max)
		return err
	})
}

// Real adds an option that takes a real number from min to max.
func (p *Program) Real(dst *float64, letter string, min, max float64) {
	p.argument(letter, func(s string) (err error) {
		*dst, err = parseReal(s, min, max)
		return err
	})
}

// Switch adds an option without an argument.
func (p *Program) Switch(dst *bool, letter string) {
	p.noArgument("-"+letter, letter, func() error { *dst = true; return nil })
}

// Require makes options mandatory.
func (p *Program) Require(letters ...string) {
	p.flags.mandatory = append(p.flags.mandatory, letters...)
}

// Exclusive forbids giving two options together.
func (p *Program) Exclusive(a, b string) {
	p.flags.exclusive = append(p.flags.exclusive, [2]string{a, b})
}

// Given reports whether the command line has the option with this letter.
func (p *Program) Given(letter string) bool {
	return p.flags.set.Lookup("-" + letter).Changed
}

func (p *Program) argument(letter string, take func(string) error) {
	p.flags.set.VarP(&option{name: "-" + letter, take: take}, "-"+letter, letter, "")
}

// long adds an option with only a long name and no argument.
func (p *Program) long(name string, take func() error) {
	p.noArgument(name, "", take)
}

func (p *Program) noArgument(name, letter string, take func() error) {
	shown := "-" + letter
	if letter == "" {
		shown = "--" + name
	}
	o := &option{name: shown, take: func(s string) error {
		if s != noArgument {
			return fmt.Errorf("%w: option takes no argument -- %s", errUsage, shown)
		}
		return take()
	}}
	p.flags.set.VarPF(o, name, letter, "").NoOptDefVal = noArgument
}

// parse reads the command line. Options take effect in order, up to the first wrong one.
func (p *Program) parse(args []string) error {
	f := &p.flags
	if err := f.set.Parse(args); err != nil {
		return explain(err)
	}
	if f.set.NArg() > 0 {
		return fmt.Errorf("%w: not an option -- %s", errUsage, f.set.Arg(0))
	}
	for _, letter := range f.mandatory {
		if !p.Given(letter) {
			return fmt.Errorf("%w: option is missing -- -%s", errUsage, letter)
		}
	}
	for _, x := range f.exclusive {
		if p.Given(x[0]) && p.Given(x[1]) {
			return fmt.Errorf("%w: options exclude each other -- -%s -%s", errUsage, x[0], x[1])
		}
	}
	return nil
}

// explain rewords errors of pflag in the words of the original daemons. Scripts look for these.
func explain(err error) error {
	var (
		unknown *pflag.NotExistError
		syntax  *pflag.InvalidSyntaxError
		missing *pflag.ValueRequiredError
		invalid *pflag.InvalidValueError
	)
	switch {
	case errors.Is(err, pflag.ErrHelp):
		return errUsage
	case errors.As(err, &unknown):
		dashes := "--"
		if unknown.GetSpecifiedShortnames() != "" {
			dashes = "-"
		}
		return fmt.Errorf("%w: illegal option -- %s%s", errUsage, dashes, unknown.GetSpecifiedName())
	case errors.As(err, &syntax):
		return fmt.Errorf("%w: illegal option -- %s", errUsage, syntax.GetSpecifiedFlag())
	case errors.As(err, &missing):
		return fmt.Errorf("%w: option requires an argument -- %s", errUsage, missing.GetFlag().Value.(*option).name)
	case errors.As(err, &invalid):
		cause := invalid.Unwrap()
		if errors.Is(cause, errUsage) || errors.Is(cause, errVersion) {
			return cause
		}
		return fmt.Errorf("option %s: %w", invalid.GetFlag().Value.(*option).name, cause)
	}
	return err
}

// refuse prints why a command line is refused, and returns the exit status.
func (p *Program) refuse(err error) int {
	if errors.Is(err, errVersion) {
		fmt.Fprintf(p.stderr, "%s %s\n", p.name, version.Of())
		return exitOK
	}
	if why, found := strings.CutPrefix(err.Error(), errUsage.Error()+": "); found || !errors.Is(err, errUsage) {
		fmt.Fprintf(p.stderr, "%s: %s\n", p.base, why)
	}
	if errors.Is(err, errUsage) {
		fmt.Fprint(p.stderr, p.usage())
	}
	return exitFailed
}

// usage returns the text of the usage message.
func (p *Program) usage() string {
	indent := strings.Repeat(" ", len("usage: ")+len(p.name)+1)
	first := strings.ReplaceAll(p.flags.usage, "\n", "\n"+indent)
	return fmt.Sprintf("usage: %s %s\n       %s --version\n", p.name, first, p.name)
}
