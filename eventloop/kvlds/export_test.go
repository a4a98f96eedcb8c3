package kvlds

// Limits that tests check from outside.
const MaxConnWatches = maxConnWatches

// WatchBytes returns the memory reserved for waiting WATCHes.
func (s *Server) WatchBytes() int64 { return s.watches.reserved.Load() }
