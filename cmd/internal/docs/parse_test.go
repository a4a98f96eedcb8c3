//go:build !race

package docs

import (
	"fmt"
	"regexp"
	"strings"
)

// step is one thing to do with a document, in order.
type step struct {
	line int // in the document, from 1
	kind kind
	text string // commands, without the indentation of the block; output; the reason of notRun; a path and a file
}

type kind int

const (
	commands kind = iota
	output        // output of the commands before it
	stop
	notRun // a block of commands that must not run
	file   // a file that the reader writes
)

var (
	comment = regexp.MustCompile(`(?s)^<!-- (sh: (.*)|output|stop|not run: (.*)|file: \S+) -->$`)

	// command matches the beginning of a block of commands without a fence that says so.
	command = regexp.MustCompile(`^(\$ |[A-Z_]+=\S+ )*(kivaloo[a-z-]*|bin/\S+|go|make|curl|openssl|kill|docker|dpkg|rpm|apt\S*|systemctl) `)
)

// parse returns the steps of a Markdown document.
func parse(text string) ([]step, error) {
	var steps []step
	var next string // the comment about the next block
	lines := strings.Split(text, "\n")
	for i := 0; i < len(lines); i++ {
		first, line := i+1, lines[i]
		trimmed := strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(trimmed, "<!-- "):
			for !strings.HasSuffix(trimmed, "-->") && i+1 < len(lines) {
				i++
				trimmed += "\n" + strings.TrimSpace(lines[i])
			}
			found := comment.FindStringSubmatch(trimmed)
			switch {
			case found == nil:
				return nil, fmt.Errorf("line %d: %q is no comment that the test of documents knows", first, trimmed)
			case found[2] != "":
				steps = append(steps, step{first, commands, found[2]})
			case found[1] == "stop":
				steps = append(steps, step{line: first, kind: stop})
			default:
				next = found[1]
			}
			continue
		case strings.HasPrefix(trimmed, "```"):
			var block []string
			for i++; i < len(lines) && strings.TrimSpace(lines[i]) != "```"; i++ {
				block = append(block, lines[i])
			}
			steps = add(steps, first, next, strings.Join(block, "\n"), trimmed == "```sh")
		case strings.HasPrefix(line, "    ") && (i == 0 || strings.TrimSpace(lines[i-1]) == ""):
			indent := line[:len(line)-len(strings.TrimLeft(line, " "))]
			var block []string
			for ; i < len(lines) && (strings.HasPrefix(lines[i], "    ") || lines[i] == ""); i++ {
				block = append(block, strings.TrimPrefix(lines[i], indent))
			}
			i--
			steps = add(steps, first, next, strings.TrimRight(strings.Join(block, "\n"), "\n"), false)
		default:
			if trimmed == "" {
				continue // between a comment and its block
			}
			if next != "" {
				return nil, fmt.Errorf("line %d: no block follows the comment %q", first, next)
			}
			continue
		}
		next = ""
	}
	return steps, nil
}

// add appends the steps of one block.
func add(steps []step, line int, about, block string, shell bool) []step {
	switch {
	case about == "output":
		return append(steps, step{line, output, block})
	case strings.HasPrefix(about, "file: "):
		return append(steps, step{line, file, strings.TrimPrefix(about, "file: ") + "\n" + block + "\n"})
	case about != "":
		return append(steps, step{line, notRun, strings.TrimPrefix(about, "not run: ")})
	case !shell && !command.MatchString(block+" "):
		return steps
	case !strings.Contains("\n"+block, "\n$ "):
		return append(steps, step{line, commands, block})
	}
	for part := range strings.SplitSeq("\n"+block, "\n$ ") {
		asked, printed, ok := strings.Cut(part, "\n")
		if part != "" {
			steps = append(steps, step{line, commands, asked})
		}
		if ok {
			steps = append(steps, step{line, output, printed})
		}
	}
	return steps
}

var (
	number = regexp.MustCompile(`[0-9a-f]{16}|[-+±]?\d[\d.,]*( ?(ns|µs|us|ms|s|m|h|KiB|MiB|GiB|MB|kB)\b| ?%)?`)
	spaces = regexp.MustCompile(`\s+`)
)

// shape returns a line without the parts that differ from run to run.
func shape(line string) string {
	return strings.TrimSpace(spaces.ReplaceAllString(number.ReplaceAllString(line, "#"), " "))
}

// missing returns the first line of documented output that was not printed, in this order, or "".
func missing(documented, printed string) string {
	lines := strings.Split(printed, "\n")
	for want := range strings.Lines(documented) {
		pattern := strings.ReplaceAll(regexp.QuoteMeta(shape(want)), `\.\.\.`, ".*")
		same := regexp.MustCompile("^" + pattern + "$")
		for len(lines) > 0 && !same.MatchString(shape(lines[0])) {
			lines = lines[1:]
		}
		if len(lines) == 0 {
			return strings.TrimSpace(want)
		}
		if strings.TrimSpace(want) != "" {
			lines = lines[1:]
		}
	}
	return ""
}
