package main

import "time"

// stopGrace is how long a stop waits for clients to take the answers that they
// are owed.
const stopGrace = 5 * time.Second
