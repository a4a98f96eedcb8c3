// Package connect connects commands to a server: the flags and environment variables for it, and
// errors that help.
//
//	flags, environment --> Options --Dial--> Client --Run--> work, until it is done or
//	                                 |                     the server falls silent
//	                                 +--error--> explain: stopped? TLS? another protocol?
package connect

// Reading order: options.go, dial.go, silence.go, explain.go.
