// Package plural puts nouns behind numbers.
package plural
