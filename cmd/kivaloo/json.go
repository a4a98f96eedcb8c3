package main

import (
	"encoding/json"
	"io"

	"github.com/spf13/cobra"
)

// jsonFlag adds the --json flag.
func jsonFlag(cmd *cobra.Command, to *bool) {
	cmd.Flags().BoolVarP(to, "json", "j", false, "print JSON objects, one a line")
}

// newObjects returns an encoder that writes objects to w, one per line.
func newObjects(w io.Writer) *json.Encoder {
	objects := json.NewEncoder(w)
	objects.SetEscapeHTML(false)
	return objects
}

// printObject prints v as one line of JSON.
func printObject(w io.Writer, v any) error { return newObjects(w).Encode(v) }
