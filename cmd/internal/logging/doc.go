// Package logging creates logs with a format and a level.
package logging
