// Package must ends a test as soon as something is not as it must be. Only tests import it.
package must
