// Package page is internal to kivaloo: other programs use package kivaloo.
//
// It is the format of pages: the nodes of the B+tree as they are stored, one in a block.
// It is the original's, byte for byte. Nothing that comes from a disk is trusted: Want.Verify
// checks all that can be known of a page without reading another one.
package page

// Reading order: page.go (layout, reading, writing), verify.go (what must hold), seal.go (how an
// append is known to be whole), describe.go (a page for people).
