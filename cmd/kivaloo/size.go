package main

import (
	"fmt"
	"strconv"
	"strings"
)

// byteSize is a flag for a number of bytes: 1000000, 512k, 128M, 4GiB.
type byteSize uint64

var sizeUnits = []struct {
	suffix string
	bytes  uint64
}{
	{"Ki", 1 << 10}, {"Mi", 1 << 20}, {"Gi", 1 << 30}, {"Ti", 1 << 40},
	{"k", 1e3}, {"K", 1e3}, {"M", 1e6}, {"G", 1e9}, {"T", 1e12},
}

// Set implements pflag.Value.
func (b *byteSize) Set(s string) error {
	digits, unit := strings.TrimSuffix(s, "B"), uint64(1)
	for _, u := range sizeUnits {
		if rest, ok := strings.CutSuffix(digits, u.suffix); ok {
			digits, unit = rest, u.bytes
			break
		}
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || n > maxSize/unit {
		return fmt.Errorf("want a number of bytes such as 512M or 4Gi")
	}
	*b = byteSize(n * unit)
	return nil
}

// String implements pflag.Value. It is also used in messages.
func (b *byteSize) String() string {
	for _, u := range []int{3, 2, 1, 0} {
		if unit := byteSize(sizeUnits[u].bytes); *b >= unit && *b%unit == 0 {
			return strconv.FormatUint(uint64(*b/unit), 10) + sizeUnits[u].suffix
		}
	}
	return strconv.FormatUint(uint64(*b), 10)
}

// Type implements pflag.Value.
func (b *byteSize) Type() string { return "size" }
