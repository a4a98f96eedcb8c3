package targets

import (
	"fmt"
	"regexp"
	"strings"
	"time"
)

// part is a part of a server's work. Its processor time is divided among them.
type part int

const (
	sockets part = iota
	packets
	searching
	deciding
	pages
	flushing
	disk
	goRuntime
	rest
	allParts
)

var partNames = [allParts]string{
	sockets:   "socket: system calls of the loop",
	packets:   "loop: framing, parsing, answers",
	searching: "tree: search",
	deciding:  "tree: decide, memtable, all else of it",
	pages:     "tree: pages built, patched",
	flushing:  "tree: journal, flush, cleaning",
	disk:      "disk: append, sync, read",
	goRuntime: "Go: scheduling, wake-ups, memory",
	rest:      "all else",
}

// treeFunctions are the functions of package kivaloo/tree that say what the tree is doing. Time in
// other functions belongs to their callers.
var treeFunctions = map[part]string{
	searching: `countBelow (*cache).position (*cache).sample (*cache).scan (*cache).childFor (*cache).valueOffset (*cache).lookup
		(*cache).locate (*cache).valueIn (*cache).descend (*node).slotOf (*node).touchIndex (*reader).run (*reader).goOn (*reader).arrived`,
	deciding: `(*Tree).accept (*writer).decide (*writer).answer (*Tree).Step`,
	pages:    `(*pageCommit).prepare (*pageCommit).number (*pageCommit).publish (*pageCommit).drop`,
	flushing: `(*Tree).append (*Tree).appended (*Tree).freeze (*flusher).advance (*Tree).tick (*Tree).afterAppend (*cleaner).payDebt`,
}

var treeParts = func() map[string]part {
	byName := map[string]part{}
	for p, names := range treeFunctions {
		for _, name := range strings.Fields(names) {
			byName["kivaloo/tree."+name] = p
		}
	}
	return byName
}()

// rule says which part functions belong to, on the goroutines of the actors with this name.
type rule struct {
	actor, function *regexp.Regexp
	part            part
}

const systemCall = `^(internal/runtime/syscall/linux|syscall)\.(Raw)?Syscall6?$`

// rules are tried in this order.
var rules = []rule{
	on("^loop$", systemCall, sockets),
	on("^disk ", systemCall+`|^kivaloo/disk\.`, disk),
	on("", systemCall, goRuntime), // the tree wakes the loop
	on("", `^kivaloo/actors\.\(\*(Mailbox|Doorbell|Waiter)`, goRuntime),
	on("", `^runtime\.(mcall|mstart|schedule|systemstack|goexit0|gopark|goready|wakep|chan(send|recv)|selectgo|(re)?entersyscall|exitsyscall|`+
		`morestack|mallocgc|growslice|newobject|makeslice|gc|bg|futex|sysmon)`, goRuntime),
	on("", `^kivaloo/(wire|eventloop)\b`, packets),
}

func on(actor, function string, p part) rule {
	return rule{regexp.MustCompile(actor), regexp.MustCompile(function), p}
}

// partOf returns what the processor was busy with. stack is from a goroutine of an actor, innermost
// function first. The first known function decides. For instance, the runtime's copying is not
// known, so it belongs to its caller.
func partOf(actor string, stack []string) part {
	for _, function := range stack {
		if p, known := treeParts[function]; known {
			return p
		}
		for _, r := range rules {
			if r.actor.MatchString(actor) && r.function.MatchString(function) {
				return r.part
			}
		}
	}
	return rest
}

// parts holds the time of each part of a server.
type parts [allParts]time.Duration

func (p *parts) sum() (sum time.Duration) {
	for _, took := range p {
		sum += took
	}
	return sum
}

// attribute reads what `go tool pprof -traces -unit=ms` prints of a profile: stacks, between lines
// of dashes, each with its labels and the time spent in it.
func attribute(traces string) (p parts, err error) {
	_, traces, found := strings.Cut(traces, separator)
	if !found {
		return p, fmt.Errorf("no traces in what pprof printed: %.200q", traces)
	}
	for sample := range strings.SplitSeq(traces, separator) {
		if err := p.add(sample); err != nil {
			return p, err
		}
	}
	return p, nil
}

// separator is how a line between two stacks begins.
const separator = "-----------+"

var (
	actorLine = regexp.MustCompile(`(?m)^ *actor: +(.+)$`)
	timeLine  = regexp.MustCompile(`(?m)^ *([0-9.]+ms) +`)
)

// add adds one stack.
func (p *parts) add(sample string) error {
	at := timeLine.FindStringSubmatchIndex(sample)
	if at == nil {
		return nil // after the last line of dashes, or it took no time
	}
	took, err := time.ParseDuration(sample[at[2]:at[3]])
	if err != nil {
		return fmt.Errorf("a time that pprof printed: %w", err)
	}
	actor := ""
	if label := actorLine.FindStringSubmatch(sample[:at[0]]); label != nil {
		actor = label[1]
	}
	var stack []string
	for line := range strings.Lines(sample[at[1]:]) {
		if function := strings.TrimSuffix(strings.TrimSpace(line), " (inline)"); function != "" {
			stack = append(stack, function)
		}
	}
	p[partOf(actor, stack)] += took
	return nil
}
