package results

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// eventClasses are the colors of the kinds of events in a chart.
var eventClasses = map[string]string{"flush": "c4", "fsync stall": "c5", "cleaning": "c6"}

// otherEvents is the color of all other kinds.
const otherEvents = "c7"

// describeEvents counts events by kind.
func describeEvents(events []Event) string {
	var parts []string
	for _, kind := range eventKinds(events) {
		n, longest := 0, 0.0
		for _, e := range events {
			if e.Kind == kind {
				n, longest = n+1, max(longest, e.Length)
			}
		}
		parts = append(parts, fmt.Sprintf("%s: %d, up to %s", kind, n, Duration(int64(longest*1e9))))
	}
	return strings.Join(parts, "; ")
}

// eventKinds returns the kinds that occur, in order.
func eventKinds(events []Event) (kinds []string) {
	for _, e := range events {
		kinds = append(kinds, e.Kind)
	}
	slices.Sort(kinds)
	return slices.Compact(kinds)
}

// markEvents adds events to a chart over time, as bands with the length of the events. Long ones
// are drawn first, behind the others.
func markEvents(f *figure, c *chart, events []Event) {
	for _, kind := range eventKinds(events) {
		f.Keys = append(f.Keys, key{eventClass(kind), kind})
	}
	for _, e := range slices.SortedStableFunc(slices.Values(events), func(a, b Event) int { return cmp.Compare(b.Length, a.Length) }) {
		c.bands = append(c.bands, band{eventClass(e.Kind), e.Start, e.Start + e.Length})
	}
}

func eventClass(kind string) string {
	class, ok := eventClasses[kind]
	if !ok {
		class = otherEvents
	}
	return "band " + class
}
