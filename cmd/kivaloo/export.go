package main

import (
	"io"

	"github.com/spf13/cobra"

	"kivaloo/cmd/internal/commandline"
	"kivaloo/cmd/internal/dumpstream"
	"kivaloo/cmd/internal/pairtext"
)

const textFormsHelp = `JSON: on each line an object {"key":"...","value":"..."}. A key or value that is not UTF-8
is named "key_hex" or "value_hex" instead, and is in hex.

CSV: a first line with the names "key" and "value", then a line for each pair. A backslash
and control characters, and bytes that are not UTF-8, are written as \\, \t, \n, \r and
\xNN. With the names "key_hex" and "value_hex" the column is in hex. A line break within
quotes counts as \n, also if it is a carriage return and a line feed.`

func newExportCommand() *cobra.Command {
	var o dumpOptions
	format := "json"
	o.verb, o.did = "export", "exported"
	o.sink = func(w io.Writer) (dumpstream.Sink, error) {
		if format == "csv" {
			return pairtext.NewCSVWriter(w, o.hex), nil
		}
		return pairtext.NewJSONWriter(w, o.hex), nil
	}
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write all pairs as JSON or CSV",
		Long: `Write all pairs of the store as text that other programs can read, in ascending order
of the keys. "kivaloo import" reads it back.

` + textFormsHelp + `

` + outputHelp,
		Example: `  kivaloo export --output store.jsonl
  kivaloo export --format csv --output store.csv
  kivaloo export | jq -r .key`,
		Args:              commandline.Arguments(0),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, args []string) error { return o.run(cmd) },
	}
	o.addFlags(cmd)
	commandline.Choice(cmd, &format, "format", "form of the text", "json", "csv")
	cmd.Flags().BoolVarP(&o.hex, "hex", "x", false, "write all keys and values in hex")
	return cmd
}

func newImportCommand() *cobra.Command {
	o := loadOptions{verb: "import", did: "imported", source: pairtext.NewReader}
	cmd := &cobra.Command{
		Use:   "import",
		Short: "Store pairs given as JSON or CSV",
		Long: `Store the pairs of a text: what "kivaloo export" wrote, or "kivaloo range --json", or
another program in one of their forms. A key that exists gets the value in the text;
keys that the text lacks stay. With exit status 0 all pairs are durable.

` + textFormsHelp + `

The form is recognized. After an error, which names the line, the pairs of the lines
before it may be stored. Importing the same text again is safe.`,
		Example: `  kivaloo import --input store.jsonl
  echo '{"key":"greeting","value":"hello"}' | kivaloo import`,
		Args:              commandline.Arguments(0),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.run(cmd, "an import does not come from a terminal: give --input FILE, or send it from a file or a pipe")
		},
	}
	o.addFlags(cmd)
	return cmd
}
