// Package connect is how the commands reach a server: the flags and environment variables that say
// how, and what went wrong in words that help.
//
//	flags, environment --> Options --Dial--> Client --Run--> work, until it is done or
//	                                 |                     the server falls silent
//	                                 +--error--> explain: stopped? TLS? another protocol?
//
// Reading order: options.go, dial.go, silence.go, explain.go.
package connect
