// Package packaging holds the tests of what contrib/package/build makes: the .deb is installed,
// used, upgraded, removed and purged below a temporary directory, and the .rpm is looked into. It
// also checks that all the places that name a version or a unit agree.
package packaging
