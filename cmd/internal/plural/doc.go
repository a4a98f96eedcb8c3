// Package plural formats a number with its noun.
package plural
