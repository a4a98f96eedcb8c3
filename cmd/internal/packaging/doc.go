// Package packaging holds the tests of contrib/package/build. They install, use, upgrade, remove
// and purge the .deb below a temporary directory, and inspect the .rpm. They also check that all
// places that name a version or a unit agree.
package packaging
