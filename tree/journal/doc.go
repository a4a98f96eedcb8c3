// Package journal is internal to kivaloo: other programs use package kivaloo.
//
// It is the format of journal blocks, which make changes durable before the pages that
// will hold them are written.
//
//	changes --> Writer --> blocks of one append --> ParseAt, Commit --> Next: the changes again
//
// Nothing outside this project reads them. The original takes them for damage and refuses a store
// that ends in one, instead of opening it without what they say.
package journal

// Reading order: block.go (a block), writer.go, reader.go (commits), record.go (changes in a
// payload), describe.go.
