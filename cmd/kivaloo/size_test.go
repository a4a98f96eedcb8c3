package main

import "testing"

// FuzzByteSize checks that an accepted size is within bounds, and that its printed form means the
// same. A refused one must change nothing.
func FuzzByteSize(f *testing.F) {
	for _, s := range []string{"", "0", "B", "512M", "4GiB", "1000k", "1024KB", "1.5G", "-1", "1125899906842624", "1025Ti", "18446744073709551617", "1 k", "1iB"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		b, again := byteSize(7), byteSize(7)
		switch err := b.Set(s); {
		case err != nil && b != 7:
			t.Errorf("%q is refused and makes %d, %v", s, b, err)
		case b > maxSize:
			t.Errorf("%q is taken for %d", s, b)
		}
		if err := again.Set(b.String()); err != nil || again != b {
			t.Errorf("%q is %d, shown as %s, which is %d, %v", s, b, &b, again, err)
		}
	})
}
