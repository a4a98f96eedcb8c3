// Package logging is the choice of what a server logs, and in which form.
package logging
