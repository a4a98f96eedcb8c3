package lbs

import "time"

// Stop ends the loop cleanly once no client is writing. Any goroutine may call it, once.
//
// A key-value daemon that stops at the same moment has to write its last flush here, in many
// appends. It hangs up after that. Nothing says whether a client will do so. So Stop waits as long
// as a client continues to append, and for a moment if it does not.
func (s *Server) Stop() {
	s.loop.StopAccepting()
	s.loop.Post(func() {
		s.stopping = time.Now()
		s.stopIfQuiet()
	})
}

// stopIfQuiet stops the loop, or calls itself again when that may be due.
func (s *Server) stopIfQuiet() {
	now := time.Now()
	quiet := s.stopping.Add(hangUpTime)
	if written := s.appended.Add(quietTime); s.appender == nil && written.After(quiet) {
		quiet = written
	}
	if s.appender != nil {
		quiet = now.Add(quietTime)
	}
	if last := s.stopping.Add(stopTime); quiet.After(last) {
		quiet = last
	}
	if s.sessions == 0 || !now.Before(quiet) {
		s.loop.Stop(stopGrace)
		return
	}
	time.AfterFunc(quiet.Sub(now), func() { s.loop.Post(s.stopIfQuiet) })
}
