package plural

import "fmt"

// Of returns n and the noun, in the plural unless n is 1. An irregular plural can be given.
func Of[N ~int | ~int64 | ~uint | ~uint32 | ~uint64](n N, noun string, plural ...string) string {
	switch {
	case n == 1:
		return "1 " + noun
	case len(plural) > 0:
		return fmt.Sprintf("%d %s", n, plural[0])
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
