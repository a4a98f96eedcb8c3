package linear

import (
	"fmt"
	"testing"

	"github.com/anishathalye/porcupine"
)

// opcode is a kind of operation.
type opcode int

const (
	opGet opcode = iota
	opRange
	opView // a snapshot, from which the keys of a group are read one by one
	opSet
	opAdd
	opModify
	opSwap
	opDelete
	opCompareDelete
	opApply // a batch that changes the whole group if it is as expected

	opcodes = iota
)

func (c opcode) String() string {
	return [...]string{"get", "range", "view", "set", "add", "modify", "cas", "delete", "cad", "apply"}[c]
}

// changes reports whether operations of this kind can change something.
func (c opcode) changes() bool { return c > opView }

// groupKeys is how many keys one RANGE reads.
const groupKeys = 2

// absent stands for a key without a value. All values in these tests are longer.
const absent = ""

// contents are the values of a group of keys.
type contents [groupKeys]string

// call is a requested operation.
type call struct {
	op         opcode
	group      int
	key        int    // in the group; unused by opRange
	old, value string // unused by some operations

	olds, values contents // of opApply, instead of these
}

// answer is the result of a call.
type answer struct {
	unknown bool     // a change without an answer
	made    bool     // whether a change was made
	found   contents // opGet: at the key's place; opRange: the whole group
}

// step applies c to a group with the content before. It reports whether a is a right answer.
func step(before contents, c call, a answer) (right bool, after contents) {
	value := before[c.key]
	switch c.op {
	case opGet:
		return a.found[c.key] == value, before
	case opRange, opView:
		return a.found == before, before
	case opApply:
		made := before == c.olds
		if after = before; made {
			after = c.values
		}
		return a.unknown || a.made == made, after
	}
	made, after := true, before
	after[c.key] = c.value
	switch c.op {
	case opAdd:
		made = value == absent
	case opModify:
		made = value != absent
	case opSwap:
		made = value == c.old
	case opDelete:
		after[c.key] = absent
	case opCompareDelete:
		made = value == c.old
		after[c.key] = absent
	}
	if !made {
		after = before
	}
	return a.unknown || a.made == made, after
}

// model is step in the form that porcupine needs. At the beginning there are no keys.
var model = porcupine.Model{
	Init: func() any { return contents{} },
	Step: func(state, input, output any) (bool, any) {
		return step(state.(contents), input.(call), output.(answer))
	},
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		var groups [][]porcupine.Operation
		for _, o := range history {
			g := o.Input.(call).group
			for len(groups) <= g {
				groups = append(groups, nil)
			}
			groups[g] = append(groups[g], o)
		}
		return groups
	},
	DescribeOperation: func(input, output any) string {
		c, a := input.(call), output.(answer)
		asked := fmt.Sprintf("%v %d.%d %.12q %.12q", c.op, c.group, c.key, c.old, c.value)
		if c.op == opApply {
			asked = fmt.Sprintf("%v %d %.12q %.12q", c.op, c.group, c.olds, c.values)
		}
		switch {
		case a.unknown:
			return asked + ": ?"
		case c.op.changes():
			return fmt.Sprintf("%s: %v", asked, a.made)
		}
		return fmt.Sprintf("%v %d.%d: %.12q", c.op, c.group, c.key, a.found)
	},
	DescribeState: func(state any) string { return fmt.Sprintf("%.12q", state.(contents)) },
}

// endless is the return time of operations that never returned.
const endless = int64(1) << 62

func TestModel(t *testing.T) {
	t.Parallel()
	// at returns an operation on key 0 that ran from one time to another.
	at := func(from, to int64, c call, a answer) porcupine.Operation {
		return porcupine.Operation{Call: from, Return: to, Input: c, Output: a}
	}
	set := func(value string) call { return call{op: opSet, value: value} }
	get, made, refused, unknown := call{op: opGet}, answer{made: true}, answer{}, answer{unknown: true}
	sees := func(value string) answer { return answer{found: contents{value}} }

	for _, c := range []struct {
		name    string
		history []porcupine.Operation
		right   bool
	}{
		{"a read sees what was set", []porcupine.Operation{at(1, 2, set("x"), made), at(3, 4, get, sees("x"))}, true},
		{"a read misses what was set", []porcupine.Operation{at(1, 2, set("x"), made), at(3, 4, get, sees(absent))}, false},
		{"a read sees what is being set", []porcupine.Operation{at(1, 9, set("x"), made), at(3, 4, get, sees("x"))}, true},
		{"a read does not yet see it", []porcupine.Operation{at(1, 9, set("x"), made), at(3, 4, get, sees(absent))}, true},
		{"two reads see it come and go", []porcupine.Operation{at(1, 9, set("x"), made), at(2, 3, get, sees("x")), at(4, 5, get, sees(absent))}, false},
		{"a read sees what nobody set", []porcupine.Operation{at(1, 2, get, sees("x"))}, false},
		{"a change without an answer takes effect late", []porcupine.Operation{at(1, endless, set("x"), unknown), at(3, 4, get, sees(absent)), at(5, 6, get, sees("x"))}, true},
		{"or never", []porcupine.Operation{at(1, endless, set("x"), unknown), at(3, 4, get, sees(absent))}, true},
		{"but not twice", []porcupine.Operation{at(1, endless, set("x"), unknown), at(3, 4, get, sees("x")), at(5, 6, set("y"), made), at(7, 8, get, sees("x"))}, false},
		{"and not before it was asked for", []porcupine.Operation{at(5, endless, set("x"), unknown), at(3, 4, get, sees("x"))}, false},
		{"two add at once, one wins", []porcupine.Operation{at(1, 5, call{op: opAdd, value: "x"}, made), at(1, 5, call{op: opAdd, value: "y"}, refused)}, true},
		{"both win", []porcupine.Operation{at(1, 5, call{op: opAdd, value: "x"}, made), at(1, 5, call{op: opAdd, value: "y"}, made)}, false},
		{"modify of nothing", []porcupine.Operation{at(1, 2, call{op: opModify, value: "x"}, made)}, false},
		{"two swap the same value", []porcupine.Operation{at(1, 2, set("x"), made),
			at(3, 5, call{op: opSwap, old: "x", value: "y"}, made), at(3, 5, call{op: opSwap, old: "x", value: "z"}, made)}, false},
		{"a swap is refused for no reason", []porcupine.Operation{at(1, 2, set("x"), made), at(3, 5, call{op: opSwap, old: "x", value: "y"}, refused)}, false},
		{"what was deleted is back", []porcupine.Operation{at(1, 2, set("x"), made), at(3, 4, call{op: opDelete}, made), at(5, 6, get, sees("x"))}, false},
		{"a delete that was refused has deleted", []porcupine.Operation{at(1, 2, set("x"), made),
			at(3, 4, call{op: opCompareDelete, old: "y"}, refused), at(5, 6, get, sees(absent))}, false},
		{"a batch is seen whole", []porcupine.Operation{at(1, 2, call{op: opApply, values: contents{"x", "y"}}, made),
			at(3, 4, call{op: opRange}, answer{found: contents{"x", "y"}})}, true},
		{"half of a batch is seen", []porcupine.Operation{at(1, 9, call{op: opApply, values: contents{"x", "y"}}, made),
			at(3, 4, call{op: opRange}, answer{found: contents{"x", absent}})}, false},
		{"a batch is made that expects something else", []porcupine.Operation{at(1, 2, set("x"), made),
			at(3, 4, call{op: opApply, olds: contents{"y"}, values: contents{"x", "y"}}, made)}, false},
		{"a range sees the second of two changes only", []porcupine.Operation{at(1, 2, set("x"), made), at(3, 4, call{op: opSet, key: 1, value: "y"}, made),
			at(1, 9, call{op: opRange}, answer{found: contents{absent, "y"}})}, false},
		{"a range sees the first of two changes only", []porcupine.Operation{at(1, 2, set("x"), made), at(3, 4, call{op: opSet, key: 1, value: "y"}, made),
			at(1, 9, call{op: opRange}, answer{found: contents{"x", absent}})}, true},
	} {
		if got := porcupine.CheckOperations(model, c.history); got != c.right {
			t.Errorf("%s: linearizable: %v", c.name, got)
		}
	}
}
