package daemon

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

var errRange = errors.New("out of range")

// parseNumber parses a whole number as C programs do: white space, a sign, then decimal digits, or
// hexadecimal digits after 0x, or octal digits after 0.
func parseNumber(s string, min, max int) (int, error) {
	negative, digits := cutSign(s)
	base := 10
	switch {
	case hasHexPrefix(digits):
		digits, base = digits[2:], 16
	case strings.HasPrefix(digits, "0"):
		base = 8
	}
	// ParseUint accepts neither a sign nor, with a base given, underscores.
	u, err := strconv.ParseUint(digits, base, 63)
	if errors.Is(err, strconv.ErrSyntax) {
		return 0, fmt.Errorf("not a number: %q", s)
	}
	n := int(u)
	if negative {
		n = -n
	}
	if err != nil || n < min || n > max {
		return 0, fmt.Errorf("%w: %s is not between %d and %d", errRange, s, min, max)
	}
	return n, nil
}

// parseReal parses what C's strtod parses: white space, a sign, then a decimal or hexadecimal
// number with an optional exponent, or an infinity.
func parseReal(s string, min, max float64) (float64, error) {
	negative, digits := cutSign(s)
	if hasHexPrefix(digits) && !strings.ContainsAny(digits, "pP") {
		digits += "p0" // Go requires the exponent
	}
	v, err := strconv.ParseFloat(digits, 64)
	// ParseFloat would accept a second sign, and underscores in hexadecimal numbers.
	if errors.Is(err, strconv.ErrSyntax) || strings.HasPrefix(digits, "+") ||
		strings.HasPrefix(digits, "-") || strings.Contains(digits, "_") {
		return 0, fmt.Errorf("not a number: %q", s)
	}
	if negative {
		v = -v
	}
	if err != nil || math.IsNaN(v) || v < min || v > max {
		return 0, fmt.Errorf("%w: %s is not between %v and %v", errRange, s, min, max)
	}
	return v, nil
}

// sizePrefixes are powers of 1000, from 1000 on.
const sizePrefixes = "kMGTPE"

// parseSize parses decimal digits, then optionally a space, one of sizePrefixes and a B.
func parseSize(s string, min, max uint64) (uint64, error) {
	rest := strings.TrimLeft(s, "0123456789")
	digits := s[:len(s)-len(rest)]
	rest = strings.TrimPrefix(rest, " ")
	scale := uint64(1)
	if rest != "" {
		if power := strings.IndexByte(sizePrefixes, rest[0]); power >= 0 {
			rest = rest[1:]
			for ; power >= 0; power-- {
				scale *= 1000
			}
		}
	}
	if digits == "" || strings.TrimPrefix(rest, "B") != "" {
		return 0, fmt.Errorf("not a size, as in 1500, 64k or 2 GB: %q", s)
	}
	v, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || v > math.MaxUint64/scale || v*scale < min || v*scale > max {
		return 0, fmt.Errorf("%w: %s is not between %d and %d", errRange, s, min, max)
	}
	return v * scale, nil
}

// cutSign removes leading white space and one sign.
func cutSign(s string) (negative bool, rest string) {
	s = strings.TrimLeft(s, " \t\n\v\f\r")
	if rest, found := strings.CutPrefix(s, "-"); found {
		return true, rest
	}
	return false, strings.TrimPrefix(s, "+")
}

func hasHexPrefix(s string) bool {
	return strings.HasPrefix(s, "0x") || strings.HasPrefix(s, "0X")
}
