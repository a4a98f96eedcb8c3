// Package docs holds the test that runs the commands in README.md and docs/*.md as they are
// printed. A code block whose first line begins with a command is run with sh, in a copy of the
// checkout. Each document starts afresh, and its blocks run in order.
//
// Some things happen for every block, so that documents need not show them:
//
//   - The programs of the checkout are in the PATH.
//   - "kivaloo serve" runs until the document ends, or until another server takes its directory.
//     The next command waits until it answers.
//   - Daemons are stopped at the end of the document, by their pid files.
//   - Paths below /run, /srv, /some and /var are moved below a temporary directory. Their parent
//     directories exist.
//   - 127.0.0.1:6060 is replaced by a free address.
//   - "make" and "go test" are not run: CI runs the tests anyway, and most other targets take
//     minutes. TestNames checks that the targets, and tests with these names, exist.
//
// In a block with a line that begins with "$ ", these lines are commands, and the others are the
// output of the command above them. Documented output may leave out lines, and parts of lines as
// "...". Numbers, with their units, may differ.
//
// A document can say more in comments, which are invisible when it is rendered:
//
//	<!-- sh: COMMANDS -->      runs commands that the reader need not see
//	<!-- output -->            the next block is the output of the last block that ran
//	<!-- file: PATH -->        the next block is saved as PATH, relative to the checkout
//	<!-- stop -->              stops the servers, as the reader is told to
//	<!-- not run: REASON -->   the next block is not run
//
// The examples in docs/library.md are compiled and run, too.
//
// TestProse checks the style of all comments, strings and documents: no line of more than 100
// columns, no chained clauses, no plural after 1.
package docs
