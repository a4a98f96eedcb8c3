package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"kivaloo/internal/must"
)

// TestCompletion checks how words on the command line are completed.
func TestCompletion(t *testing.T) {
	for line, want := range map[string]string{
		"get |":                   ":4", // no files where keys go
		"set |":                   ":4",
		"delete |":                ":4",
		"range a |":               ":4",
		"export --format |":       "json csv :4",
		"serve --log-format |":    "text json :4",
		"serve --log-level |":     "debug info warn error :4",
		"serve --dir |":           ":16", // directories
		"serve |":                 ":4",
		"check |":                 ":16",
		"check d |":               ":4",
		"restore file |":          ":16",
		"restore |":               ":0", // files
		"get --addr |":            ":0",
		"get --tls-ca |":          ":0",
		"get --tls-server-name |": ":4",
		"load --input |":          ":0",
		"completion |":            "bash fish powershell zsh :4",
		"range --prefix |":        ":4",
	} {
		words := append([]string{cobra.ShellCompNoDescRequestCmd}, strings.Fields(strings.TrimSuffix(line, "|"))...)
		r := kivalooRun("", append(words, "")...)
		if got := strings.Join(strings.Fields(r.out), " "); r.status != 0 || got != want {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
}

// TestDescriptionsHaveNoQuotes checks that descriptions have no quotes, because a shell shows them
// as they are.
func TestDescriptionsHaveNoQuotes(t *testing.T) {
	for _, cmd := range newRootCommand().Commands() {
		if strings.ContainsAny(cmd.Short, "`\"") {
			t.Errorf("%s: %s", cmd.Name(), cmd.Short)
		}
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if strings.ContainsAny(f.Usage, "`\"") {
				t.Errorf("%s --%s: %s", cmd.Name(), f.Name, f.Usage)
			}
		})
	}
}

// TestCompletionScripts checks that there is a script for every shell, and that help lists them.
func TestCompletionScripts(t *testing.T) {
	if r := kivalooRun("", "--help"); !strings.Contains(r.out, "  completion ") {
		t.Error("help does not list completion")
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if r := kivalooRun("", "completion", shell); r.status != 0 || !strings.Contains(r.out, "kivaloo") {
			t.Errorf("%s: %+v", shell, r)
		}
	}
}

// TestManualPages checks that each command in the help has a manual page.
func TestManualPages(t *testing.T) {
	dir := t.TempDir()
	kivalooRun("", "man", dir).want(t, 0, "", "")
	for _, cmd := range newRootCommand().Commands() {
		name := filepath.Join(dir, "kivaloo-"+cmd.Name()+".1")
		page, err := os.ReadFile(name)
		if cmd.Hidden {
			if !os.IsNotExist(err) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		must.Do(t, err)
		if !strings.Contains(string(page), ".SH SYNOPSIS") {
			t.Errorf("%s: %.200s", name, page)
		}
	}
}
