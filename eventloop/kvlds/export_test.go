package kvlds

// Limits that tests check from outside.
const MaxConnWatches = maxConnWatches

// WatchBytes returns what is set aside for WATCHes that wait.
func (s *Server) WatchBytes() int64 { return s.watches.reserved.Load() }
