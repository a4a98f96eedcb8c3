// Package tree is the B+tree.
package tree
