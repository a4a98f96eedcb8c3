package pairtext

import (
	"encoding/hex"
	"fmt"
	"unicode"
	"unicode/utf8"
)

// AppendString appends b to dst in a form that stays on one line and is safe on a terminal. Control
// characters, those that end a line or change the direction of text included, bytes that are not
// UTF-8, and backslashes become \t, \n, \r, \\ and \xNN.
func AppendString(dst, b []byte) []byte {
	for len(b) > 0 {
		r, size := utf8.DecodeRune(b)
		switch {
		case r == '\\':
			dst = append(dst, `\\`...)
		case r == '\t':
			dst = append(dst, `\t`...)
		case r == '\n':
			dst = append(dst, `\n`...)
		case r == '\r':
			dst = append(dst, `\r`...)
		case r == utf8.RuneError && size == 1, unicode.IsControl(r), unicode.In(r, unicode.Bidi_Control, unicode.Zl, unicode.Zp):
			for _, c := range b[:size] {
				dst = fmt.Appendf(dst, `\x%02x`, c)
			}
		default:
			dst = append(dst, b[:size]...)
		}
		b = b[size:]
	}
	return dst
}

// ParseString is the inverse of AppendString.
func ParseString(s string) ([]byte, error) {
	b := make([]byte, 0, len(s))
	for at := 0; at < len(s); at++ {
		if s[at] != '\\' {
			b = append(b, s[at])
			continue
		}
		at++
		switch {
		case at < len(s) && s[at] == '\\':
			b = append(b, '\\')
		case at < len(s) && s[at] == 't':
			b = append(b, '\t')
		case at < len(s) && s[at] == 'n':
			b = append(b, '\n')
		case at < len(s) && s[at] == 'r':
			b = append(b, '\r')
		case at+2 < len(s) && s[at] == 'x':
			one, err := hex.DecodeString(s[at+1 : at+3])
			if err != nil {
				return nil, fmt.Errorf(`%q is not \xNN with two hex digits`, s[at-1:at+3])
			}
			b = append(b, one...)
			at += 2
		default:
			return nil, fmt.Errorf(`a backslash in %q stands before something other than \, t, n, r or xNN`, s)
		}
	}
	return b, nil
}
