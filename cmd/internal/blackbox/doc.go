// Package blackbox tests the built programs as users meet them: started by a command line, spoken
// to over sockets, stopped by signals, or killed.
//
//	kivaloo set, get, ...       kvtest.Conn, kvtest.Load
//	           \                 /
//	            v               v
//	         kivaloo serve, or kivaloo-kvlds --> kivaloo-lbs
//	                                |
//	                                v
//	                 a directory <--- kivaloo check, a hash of its files
//
// The package has only tests. Whatever must hold for a whole store, as one process or as two
// daemons, is tested on both. Package kvtest speaks the protocol and knows what must be there.
package blackbox

// Files in reading order: main_test.go and systems_test.go (how programs are run), session_test.go
// (what a new user does), output_test.go, address_test.go, wrongpeer_test.go, commands_test.go,
// ranges_test.go, watch_test.go, dump_test.go, start_test.go, stop_test.go, golden_test.go,
// crash_test.go, clean_test.go, full_test.go, givenback_test.go, inject_test.go, hostile_test.go,
// crowd_test.go, debug_test.go, stress_test.go.
