// Package mutants tests the tests. It breaks the code on purpose, in one way at a time, and runs
// the test that must notice.
//
//	testdata/*.txt --> copies of one or two files, with the bug, in a temporary directory
//	                        |
//	                        v
//	     go test -overlay=... -run NAME PACKAGE --> must fail, and say why
//
// The package has only tests. An ordinary run only checks that each bug can still be applied, and
// that its test exists. KIVALOO_MUTANTS runs bugs: "all" of them; the "certain" ones, as CI does,
// which no run misses; or a number of them, spread over the lists. -v prints a table.
//
// A list in testdata has a paragraph for each bug:
//
//	mutant NAME
//	breaks what is broken, in one sentence
//	test PACKAGE TEST
//	says part of the failing test's output
//	flags -race
//	chance why a run may miss it
//	in FILE
//	-	lines of the file, which occur in it exactly once
//	+	lines that replace them
//
// Lines that begin with a space stay. "@@" begins another place in the same file, and a second "in"
// another file. Most bugs need neither flags nor chance. Lines that begin with # are comments.
package mutants

// Files in reading order: list_test.go (the lists), mutants_test.go (running them).
